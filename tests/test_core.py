"""The compiled core against the NumPy reference, element by element."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import normrnn as nr
from normrnn import _core, reference
from runs import assert_close, assert_same_bits, in_float64, outcome
from strategies import HIDDEN_SIZES, Problem, problems

CELLS = sorted(_core.cells())
DTYPES = ("float32", "float64")
SMALL = Problem("gru", 4, 3, 2, 5, 1, False, True, False, None, True, "float64", seed=0)


def check(problem: Problem) -> None:
    arrays = problem.arrays()
    expected = outcome(reference, problem, in_float64(arrays))
    assert_close(outcome(nr, problem, arrays), expected, problem.dtype, problem.amplification)


@settings(max_examples=300)
@given(problem=problems(cells=CELLS))
def test_agrees_with_the_reference(problem: Problem) -> None:
    check(problem)


@pytest.mark.parametrize("cell", CELLS)
def test_agrees_over_many_steps(cell: str) -> None:
    """Another library's stack overflowed past 320 steps (pytorch#9621)."""
    check(replace(SMALL, cell=cell, times=1500))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_agrees_at_every_edge_of_vectors_and_tiles(cell: str, dtype: str) -> None:
    """Compact: test_targets.py runs it again for every SIMD target."""
    for hidden in HIDDEN_SIZES:
        ragged = (5, 0, 3, 5, 1, 2, 4)
        check(Problem(cell, 5, 7, 3, hidden, 2, True, True, False, ragged, True, dtype, hidden))
    for batch in range(1, 30):  # each height of a tile, and one more
        check(Problem(cell, 2, batch, 5, 9, 1, False, False, True, None, False, dtype, batch))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("times", "batch", "inputs", "hidden"),
    # Many tiles in each direction; one sequence, split by units; long; one wide input.
    [(10, 33, 70, 130), (20, 1, 20, 300), (1500, 2, 3, 6), (3, 2, 500, 40)],
)
def test_agrees_on_larger_problems(
    cell: str, dtype: str, times: int, batch: int, inputs: int, hidden: int
) -> None:
    check(Problem(cell, times, batch, inputs, hidden, 1, True, True, True, None, True, dtype, 1))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("empty", ["times", "batch", "inputs", "times and batch"])
def test_agrees_on_empty_dimensions(cell: str, dtype: str, empty: str) -> None:
    problem = replace(SMALL, cell=cell, dtype=dtype, layers=2, bidirectional=True)
    check(replace(problem, **dict.fromkeys(empty.split(" and "), 0)))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_agrees_where_every_size_is_one(cell: str, dtype: str) -> None:
    check(Problem(cell, 1, 1, 1, 1, 1, False, True, False, None, False, dtype, seed=0))


@given(problem=problems(cells=CELLS), left_out=st.sets(st.sampled_from(["dy", "dh_n", "dc_n"])))
def test_a_gradient_left_out_counts_as_zero(problem: Problem, left_out: set[str]) -> None:
    arrays = problem.arrays()
    nothing = dict.fromkeys(left_out)
    zeros = {n: np.zeros_like(a) for n in left_out if (a := getattr(arrays, n)) is not None}
    assert_same_bits(
        outcome(nr, problem, replace(arrays, **nothing)),
        outcome(nr, problem, replace(arrays, **zeros)),
    )


@given(problem=problems(cells=CELLS))
def test_without_a_tape_the_outputs_are_the_same(problem: Problem) -> None:
    a = problem.arrays()
    with_tape, without = (
        nr.forward(problem.cell, a.x, a.params, a.h0, a.c0, **problem.options, need_grad=need)
        for need in (True, False)
    )
    assert without.tape is None
    assert with_tape.tape.cell == problem.cell
    assert_same_bits(states_of(without), states_of(with_tape))


def states_of(out: nr.results.Output) -> dict[str, np.ndarray]:
    states = {"y": out.y, "h_n": out.h_n, "c_n": out.c_n}
    return {name: array for name, array in states.items() if array is not None}


@given(problem=problems(cells=CELLS, min_times=1), cut=st.integers(0, 7))
def test_truncated_back_propagation_joins_up(problem: Problem, cut: int) -> None:
    """Two halves with the state carried over are one pass, and so are their gradients."""
    assume(problem.lengths is None)
    problem = replace(problem, bidirectional=False, batch_first=False)
    cut = min(cut, problem.times)
    a, cell = problem.arrays(), problem.cell
    whole = nr.forward(cell, a.x, a.params, a.h0, a.c0)
    first = nr.forward(cell, a.x[:cut], a.params, a.h0, a.c0)
    second = nr.forward(cell, a.x[cut:], a.params, first.h_n, first.c_n)
    joined = states_of(second) | {"y": np.concatenate([first.y, second.y])}
    assert_same_bits(joined, states_of(whole))

    grads = nr.backward(whole.tape, a.dy, a.dh_n, a.dc_n)
    later = nr.backward(second.tape, a.dy[cut:], a.dh_n, a.dc_n)
    sooner = nr.backward(first.tape, a.dy[:cut], later.h0, later.c0)
    assert_same_bits(
        {"x": np.concatenate([sooner.x, later.x]), "h0": sooner.h0}, {"x": grads.x, "h0": grads.h0}
    )
    sums = {name: g + later.params[name] for name, g in sooner.params.items()}
    # another order of summation
    assert_close(sums, grads.params, problem.dtype, problem.amplification)


@given(problem=problems(cells=CELLS, max_layers=2))
def test_what_lies_past_the_end_is_not_read(problem: Problem) -> None:
    assume(problem.lengths)
    arrays = problem.arrays()
    past = np.arange(problem.times)[:, None] >= np.array(problem.lengths)
    past = past.T if problem.batch_first else past
    dirty = replace(arrays, x=arrays.x.copy(), dy=arrays.dy.copy())
    dirty.x[past] = dirty.dy[past] = np.nan
    clean = outcome(nr, problem, arrays)
    assert not clean["y"][past].any()
    assert not clean["dx"][past].any()
    assert_same_bits(outcome(nr, problem, dirty), clean)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_stay_in_their_sequence(cell: str, dtype: str) -> None:
    """From the step on where they come in, as in the reference; other sequences do not change."""
    problem = replace(SMALL, cell=cell, dtype=dtype, hidden=17)
    arrays = problem.arrays()
    clean = nr.forward(cell, arrays.x, arrays.params, arrays.h0, arrays.c0).y
    for bad in (np.nan, np.inf, -np.inf):
        dirty = replace(arrays, x=arrays.x.copy())
        dirty.x[1, 1, 0] = bad
        y = nr.forward(cell, dirty.x, dirty.params, dirty.h0, dirty.c0).y
        np.testing.assert_array_equal(y[:, [0, 2]], clean[:, [0, 2]])
        np.testing.assert_array_equal(y[:1], clean[:1])
        with np.errstate(invalid="ignore"):  # inf - inf and 0 inf are the point
            expected = reference.forward(cell, dirty.x, dirty.params, dirty.h0, dirty.c0).y
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)  # of numbers of order 1


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_saturated_units_stay_finite(cell: str, dtype: str, size: float) -> None:
    problem = replace(SMALL, cell=cell, dtype=dtype, hidden=9)
    arrays = problem.arrays()
    large = replace(arrays, x=(arrays.x * size).astype(dtype))
    assert all(np.isfinite(array).all() for array in outcome(nr, problem, large).values())


def test_a_second_backward_pass_gives_the_same() -> None:
    a = SMALL.arrays()
    tape = nr.forward("gru", a.x, a.params, a.h0).tape
    a.x[...] = np.nan  # the tape does not need it
    first, second = (nr.backward(tape, a.dy, a.dh_n) for _ in range(2))
    assert_same_bits(first.params | {"x": first.x}, second.params | {"x": second.x})


@pytest.mark.parametrize(("cell", "numbers"), [("rnn_tanh", 1), ("gru", 5), ("lstm", 6)])
@pytest.mark.parametrize("hidden", [128, 256])
def test_tape_takes_what_the_equations_need(cell: str, numbers: int, hidden: int) -> None:
    params = nr.init_params(cell, 64, hidden)
    tape = nr.forward(cell, np.zeros((100, 8, 64), np.float32), params).tape
    needed = 4 * 100 * 8 * (64 + numbers * hidden)  # x, states and gates of every step
    assert needed < tape.nbytes < 1.1 * needed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weight_gradients_over_many_rows_and_columns(dtype: str) -> None:
    """Several blocks of rows and so many columns that both operands are packed, with odd rests."""
    rng = np.random.default_rng(0)
    h, dy = (rng.standard_normal((13, 41, size)).astype(dtype) for size in (139, 65))
    head = {"weight_hy": np.ones((65, 139), dtype), "bias_hy": np.ones(65, dtype)}
    _, grads = nr.head_backward(h, dy, head)
    exact_h, exact_dy = h.reshape(-1, 139).astype(float), dy.reshape(-1, 65).astype(float)
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(grads["weight_hy"], exact_dy.T @ exact_h, atol=tolerance)
    np.testing.assert_allclose(grads["bias_hy"], exact_dy.sum(0), atol=tolerance)
