"""Forward and backward passes with all they return by name, compared; and other interpreters."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from normrnn.penalties import Prox
from strategies import Problem, ProblemArrays

# Largest error, in units of an array's largest element or of 1, the size of what goes in. A sum of
# K terms of order 1, taken in an order of its own, is off by about sqrt(K) u, u the unit roundoff:
# 30 u for the thousand terms, over all steps and layers, that an element depends on here. Five
# times that is 1e-5 in float32 and 2e-14 in float64; float64 has fifty times that, for long and
# wide problems.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def outcome(
    implementation: Any,
    problem: Problem,
    arrays: ProblemArrays,
    forward: Mapping[str, Any] | None = None,
    backward: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Run forward and backward and name every array that they return.

    implementation: has both, as nr, the reference and a place on a device do.
    forward, backward: arguments of one of them alone; options: of both. Given any for backward, be
    it none, the clipped norms and the penalty are there, too.
    """
    out = implementation.forward(
        problem.cell,
        arrays.x,
        arrays.params,
        arrays.h0,
        arrays.c0,
        **problem.options,
        **(forward or {}),
        **options,
    )
    grads = implementation.backward(
        out.tape, arrays.dy, arrays.dh_n, arrays.dc_n, **(backward or {}), **options
    )
    named = {"y": out.y, "h_n": out.h_n, "c_n": out.c_n, "h_norm": grads.h_norm}
    named |= {"dx": grads.x, "dh0": grads.h0, "dc0": grads.c0}
    named |= {f"d {name}": gradient for name, gradient in grads.params.items()}
    if backward is not None:
        named["clipped"] = grads.h_norm_clipped
        named["penalty"] = np.array(grads.penalty, arrays.x.dtype)
    return {name: array for name, array in named.items() if array is not None}


def in_float64(tree: Any) -> Any:
    """Return the same numbers in float64, so that an expected value adds no float32 rounding.

    tree: the arrays of a problem, an array, a dict of trees, or what is left as it is.
    """
    if isinstance(tree, ProblemArrays):
        return ProblemArrays(**in_float64({f.name: getattr(tree, f.name) for f in fields(tree)}))
    if isinstance(tree, dict):
        return {key: in_float64(value) for key, value in tree.items()}
    return tree.astype(np.float64) if isinstance(tree, np.ndarray) else tree


def penalty_in_float64(penalty: Any) -> Any:
    """The same penalties with their centres in float64, as the reference gets its weights."""
    if isinstance(penalty, dict):
        return {key: penalty_in_float64(one) for key, one in penalty.items()}
    if isinstance(penalty, list):
        return [penalty_in_float64(one) for one in penalty]
    if isinstance(penalty, Prox):
        return Prox(penalty_in_float64(penalty.penalty))
    if getattr(penalty, "center", None) is None:
        return penalty
    return replace(penalty, center=in_float64(penalty.center))


def assert_close(
    actual: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    dtype: str,
    amplification: float = 1,
) -> None:
    """Compare by name: dtype, shape, and every element within TOLERANCE times amplification."""
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        assert array.dtype == dtype, name
        scale = max(1.0, np.max(np.abs(expected[name]), initial=0))
        np.testing.assert_allclose(
            array,
            expected[name],
            rtol=0,
            atol=amplification * TOLERANCE[dtype] * scale,
            err_msg=name,
        )


def assert_same_bits(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name], err_msg=name, strict=True)
        assert array.tobytes() == expected[name].tobytes(), name  # tells -0 from 0


def run_python(*arguments: str, timeout: float = 60, **environment: str) -> str:
    """Run another interpreter; its standard output, if all went well."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
