"""On a GPU, at odd sizes and over many steps: against float64 on the CPU, into poisoned memory."""

from typing import Any

import numpy as np
import pytest

import normrnn as nr
from devices import PLACES, SIMULATED, Place, needs_device
from runs import in_float64
from strategies import Problem, ProblemArrays

pytestmark = [needs_device, pytest.mark.gpu]

# ‖found - expected‖ / ‖expected‖. Sums of a thousand terms over ten thousand steps, and gradients
# through all of them; operands of 53, 24, 11, 8 and 11 bits.
BOUNDS = {"float64": 1e-10, "float32": 1e-4, "tf32": 1e-2, "bfloat16": 6e-2, "float16": 1e-2}
SIZES = [
    *[(7, batch, hidden) for batch in (1, 5, 33) for hidden in (1, 33, 200, 1000)],
    (1, 33, 200),
    (10_000, 5, 33),
]
if SIMULATED:  # to see that the test itself is right
    SIZES = [(7, 5, 33), (7, 1, 1)]
CASES = [
    (cell, size)
    for cell in ("rnn_tanh", "gru", "lstm", "lstm_ln", "indrnn_tanh")
    for size in SIZES
    if not (cell == "lstm_ln" and size[2] == 1)  # one number less its mean is 0
]
# Where results are made: every library gets them from there.
PLACE = PLACES[1:2]


def poison(arrays: list[np.ndarray]) -> None:
    """Leave NaN in memory of the results' sizes, which the pool then hands out again."""
    kept = [nr.device.to_device(np.full(a.shape, np.nan, a.dtype)) for a in arrays for _ in "ab"]
    nr.device.synchronize()
    del kept


def results(module: Any, problem: Problem, arrays: ProblemArrays, **forward: Any) -> dict[str, Any]:
    out = module.forward(
        problem.cell,
        arrays.x,
        arrays.params,
        arrays.h0,
        arrays.c0,
        lengths=problem.lengths,
        **forward,
    )
    grads = module.backward(out.tape, arrays.dy, arrays.dh_n, arrays.dc_n)
    named = {"y": out.y, "h_n": out.h_n, "c_n": out.c_n, "dx": grads.x, "dh0": grads.h0}
    named |= {f"d {name}": gradient for name, gradient in grads.params.items()}
    return {name: array for name, array in named.items() if array is not None}


@pytest.mark.parametrize("place", PLACE, ids=lambda place: place.name)
@pytest.mark.parametrize(("cell", "size"), CASES, ids=str)
@pytest.mark.parametrize("ragged", [False, True])
def test_agrees_with_float64(
    place: Place, cell: str, size: tuple[int, int, int], ragged: bool
) -> None:
    times, batch, hidden = size
    rng = np.random.default_rng(batch)
    lengths = tuple(rng.integers(0, times + 1, batch).tolist()) if ragged else None
    seed = np.random.SeedSequence().entropy % 2**32  # drawn afresh; in the message of a failure
    problem = Problem(
        cell, times, batch, 17, hidden, 1, True, True, False, lengths, True, "float32", seed
    )
    arrays = problem.arrays()
    exact = in_float64(arrays)
    expected = results(nr, problem, exact)
    for precision, bound in BOUNDS.items():
        given = exact if precision == "float64" else arrays
        options = {} if precision == "float64" else {"precision": precision}
        poison(list(expected.values()))
        found = results(place, problem, given, **options)
        again = results(place, problem, given, **options)
        norms = {name: float(np.linalg.norm(array)) for name, array in expected.items()}
        # A gradient of one number or two may be a sum that cancels: then it is the others that say
        # how large its terms are.
        least = max(norms.values()) if batch * hidden < 16 else 1e-30
        for name, array in found.items():
            assert array.tobytes() == again[name].tobytes(), (name, precision, seed)
            apart = float(np.linalg.norm(array.astype(np.float64) - expected[name]))
            apart /= max(norms[name], least)
            assert apart <= bound * problem.amplification, (name, precision, apart, seed)
