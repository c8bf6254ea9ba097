"""Dropout together with penalties on states and the clip of dL/dh_t: of every cell.

Penalties are of undropped states, but for Omega, which is of what goes through the dropped product.
"""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import normrnn as nr
from normrnn import reference
from normrnn.reference.cells import CELLS
from normrnn.reference.masks import KINDS
from runs import assert_close, assert_same_bits, in_float64, outcome
from strategies import (
    Problem,
    alone,
    by_sequences,
    by_units,
    dropouts,
    everything,
    penalties_of_states,
    problems,
)

SMOOTH = [nr.ActivityL2(0.1), nr.AR(2.0), nr.TAR(1.0), nr.NormStabilizer(0.1)]
OMEGAS = [nr.Omega(0.1), nr.Omega(0.1, squared=True)]


def all_penalties(cell: str) -> list[Any]:
    return [nr.ActivityL1(0.1), *SMOOTH, *(OMEGAS if cell in nr.Omega.cells else [])]


def check(problem: Problem, dropout: dict[str, Any], **options: Any) -> None:
    arrays = problem.arrays()
    expected = outcome(reference, problem, in_float64(arrays), dropout, options)
    actual = outcome(nr, problem, arrays, dropout, options)
    # A mask multiplies numbers, and their rounding, by 1 / (1 - p).
    largest = max(getattr(dropout["dropout"], kind) for kind in KINDS)
    assert_close(actual, expected, problem.dtype, problem.amplification / (1 - largest))


@settings(max_examples=300)
@given(problem=problems(), data=st.data(), clip=st.sampled_from([None, 0.1, 0.5, 2.0]))
def test_core_agrees_with_the_reference(
    problem: Problem, data: st.DataObject, clip: float | None
) -> None:
    """Any combination, in float64: in float32 a state near 0 may take the other side of |h|."""
    dropout = data.draw(dropouts(problem.cell), "dropout")
    chosen = data.draw(penalties_of_states(problem.cell), "penalties")
    check(replace(problem, dtype="float64"), dropout, state_penalty=chosen, clip_state=clip)
    smooth = [one for one in chosen if not isinstance(one, nr.ActivityL1)]
    if "relu" not in problem.cell:
        check(replace(problem, dtype="float32"), dropout, state_penalty=smooth, clip_state=clip)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("per_sequence", [False, True])
@pytest.mark.parametrize("clip", [None, 0.4])
def test_everything_at_once(cell: str, per_sequence: bool, clip: float | None) -> None:
    ragged = (6, 0, 3, 5, 1)
    problem = Problem(cell, 6, 5, 9, 17, 2, True, True, False, ragged, True, "float64", seed=0)
    dropout = everything(cell, per_sequence=per_sequence)
    check(problem, dropout, state_penalty=all_penalties(cell), clip_state=clip)


@pytest.mark.parametrize("cell", CELLS)
def test_core_agrees_in_bfloat16(cell: str) -> None:
    """How a value rounds can depend on the last bit of a sum: 2^-8 of it, over a few steps."""
    problem = Problem(cell, 6, 5, 9, 33, 2, True, True, False, None, False, "float32", seed=0)
    # By an Omega two of these roundings would be divided by each other.
    passes = everything(cell) | {"precision": "bfloat16"}, {"state_penalty": SMOOTH}
    actual, expected = (outcome(one, problem, problem.arrays(), *passes) for one in (nr, reference))
    for name, array in actual.items():
        scale = max(1.0, np.max(np.abs(expected[name])))
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=2e-2 * scale, err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("make", [by_units, by_sequences, alone])
def test_same_bits_for_any_number_of_threads(make: Any, dtype: str, cell: str) -> None:
    precision = "bfloat16" if dtype == "bfloat16" else None
    problem = replace(make(cell), dtype="float32" if precision else dtype)
    arrays = problem.arrays()
    passes = (
        everything(cell, 0.2) | {"precision": precision},
        {"state_penalty": all_penalties(cell), "clip_state": 0.5},
    )
    expected = outcome(nr, problem, arrays, *passes, num_threads=1)
    assert all(np.isfinite(array).all() for array in expected.values())
    for threads in (2, 3, 7):
        assert_same_bits(outcome(nr, problem, arrays, *passes, num_threads=threads), expected)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [by_units, by_sequences, alone])
def test_the_first_sequences_alone_give_the_same_bits(make: Any, dtype: str, cell: str) -> None:
    """A mask knows a sequence by its place, so that is all of a batch that may be missing."""
    problem = replace(make(cell), dtype=dtype)
    arrays = problem.arrays()
    # Sums over sequences; of penalties that are means a sequence's share depends on the others.
    passes = (
        everything(cell, 0.2),
        {"state_penalty": [nr.ActivityL1(0.1), nr.ActivityL2(0.1)], "clip_state": 0.5},
    )
    whole = outcome(nr, problem, arrays, *passes, num_threads=3)
    for batch in (1, problem.batch // 2, problem.batch - 1):
        lengths = problem.lengths and problem.lengths[:batch]
        smaller = replace(problem, batch=batch, lengths=lengths)

        def first(name: str, array: Any, batch: int = batch) -> Any:
            if array is None or name == "params":
                return array
            return array[:batch] if problem.batch_first and name[-1] in "xy" else array[:, :batch]

        cut = {f.name: first(f.name, getattr(arrays, f.name)) for f in fields(arrays)}
        for threads in (1, 3):
            part = outcome(nr, smaller, replace(arrays, **cut), *passes, num_threads=threads)
            names = [n for n in ("y", "h_n", "c_n", "dx", "dh0", "dc0") if n in part]
            assert_same_bits(
                {name: part[name] for name in names},
                {name: np.ascontiguousarray(first(name, whole[name])) for name in names},
            )
