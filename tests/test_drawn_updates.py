"""Updates with penalties of all kinds at once: the core against the reference.

What test_update.py and test_groups.py draw by kind stands together here, with factors for single
weights and groups, and with strengths that are functions of the step.
"""

from copy import deepcopy
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import normrnn as nr
from agreement import assert_agrees, assert_info_agrees
from normrnn import reference
from penalty_strategies import GATES, penalties_of_a_network
from runs import in_float64, penalty_in_float64

RULES = (nr.SGD(0.1), nr.Momentum(0.05, momentum=0.5), nr.Adam(0.02), nr.AdamW(0.02))
CLIPS = ({}, {"clip_norm": 0.5}, {"clip_value": 0.3}, {"clip_ratio": 0.2})


def well_apart(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A matrix whose singular values go from 2 to 0.4: at 0 and where two meet there are kinks."""
    u, _, vt = np.linalg.svd(rng.standard_normal((rows, columns)), full_matrices=False)
    return (u * np.linspace(2, 0.4, len(vt))) @ vt


def weights_of(
    rng: np.random.Generator,
    shapes: dict[str, tuple[int, ...]],
    penalty: dict[str, Any],
    gates: int,
) -> dict[str, np.ndarray]:
    """Vectors with some zeros, and matrices; by gates where a penalty takes these for matrices."""
    params = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            params[name] = np.where(rng.uniform(size=shape) < 0.1, 0, rng.uniform(-1, 1, shape))
            continue
        parts = gates if any(pattern.startswith(f"{name}[") for pattern in penalty) else 1
        blocks = [well_apart(rng, shape[0] // parts, shape[1]) for _ in range(parts)]
        params[name] = np.concatenate(blocks)
    return params


@settings(max_examples=400)
@given(
    data=st.data(),
    cell=st.sampled_from(sorted(GATES)),
    hidden=st.sampled_from([3, 8, 17]),
    rule=st.sampled_from(RULES),
    clip=st.sampled_from(CLIPS),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_agrees_with_the_reference(
    data: st.DataObject,
    cell: str,
    hidden: int,
    rule: nr.rules.Rule,
    clip: dict[str, float],
    dtype: str,
    seed: int,
) -> None:
    params = nr.init_params(cell, 5, hidden, output_size=2, dtype=dtype)
    shapes = {name: w.shape for name, w in params.items()}
    drawn = penalties_of_a_network(cell, shapes, dtype, uniform_step=rule.uniform_step)
    penalty = data.draw(drawn, "penalty")
    rng, state = np.random.default_rng(seed), nr.init_state(rule, params)
    for _ in range(3):  # from new weights each time, for these go where kinks are
        for name, w in weights_of(rng, shapes, penalty, max(1, len(GATES[cell]))).items():
            params[name][...] = w
        grads = {name: rng.standard_normal(s).astype(dtype) for name, s in shapes.items()}
        expected, expected_state = in_float64(params), in_float64(deepcopy(state))
        info = nr.update(params, grads, state, rule=rule, penalty=penalty, **clip)
        wanted = reference.update(
            expected,
            in_float64(grads),
            expected_state,
            rule=rule,
            penalty=penalty_in_float64(penalty),
            **clip,
        )
        # Adam divides by the gradient's own size: where it is small, one of a few thousand in a few
        # hundred, its rounding is that much larger in the step.
        amplification = 50 if isinstance(rule, nr.Adam) else 1
        assert_agrees(params, expected, dtype, amplification)
        for slot in rule.slots:
            assert_agrees(state[slot], expected_state[slot], dtype)
        assert_info_agrees(info, wanted, dtype)
