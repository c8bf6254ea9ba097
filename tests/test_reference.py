"""The NumPy reference against finite differences and its own definitions.

test_torch.py holds it against PyTorch.
"""

import itertools
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings

from helpers import derivative, derivative_on_one_side
from normrnn import reference
from normrnn.reference import CELLS
from strategies import Problem, ProblemArrays, problems

# Finite differences of fourth order with float64 sums of some hundred terms: 1e-11 of rounding.
FINITE_DIFFERENCE = {"rtol": 1e-6, "atol": 1e-8}


def run(problem: Problem, arrays: ProblemArrays):
    out = reference.forward(
        problem.cell, arrays.x, arrays.params, arrays.h0, arrays.c0, **problem.options
    )
    return out, reference.backward(out.tape, arrays.dy, arrays.dh_n, arrays.dc_n)


def loss_and_pattern(problem: Problem, arrays: ProblemArrays) -> tuple[float, np.ndarray]:
    """Sum of y dy + h_n dh_n + c_n dc_n, and which ReLUs are on (a smooth cell has no sides)."""
    out = reference.forward(
        problem.cell, arrays.x, arrays.params, arrays.h0, arrays.c0, **problem.options
    )
    loss = np.sum(out.y * arrays.dy) + np.sum(out.h_n * arrays.dh_n)
    if problem.has_c:
        loss += np.sum(out.c_n * arrays.dc_n)
    states = [state[0] for r in out.tape.runs for state in r.states[1:]]
    pattern = np.array([h > 0 for h in states]) if "relu" in problem.cell else np.array([])
    return float(loss), pattern


def directions_through(array: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """A unit vector that meets every element, and a single element."""
    dense = rng.standard_normal(array.shape)
    if not array.size:
        return [dense]
    single = np.zeros(array.shape)
    single.flat[rng.integers(array.size)] = 1
    return [dense / np.linalg.norm(dense), single]


@settings(max_examples=60)
@given(
    problem=problems(hidden=(1, 3, 17), dtypes=("float64",), max_times=5, max_batch=3, max_inputs=4)
)
def test_every_gradient_is_the_derivative(problem: Problem) -> None:
    arrays = problem.arrays()
    _, grads = run(problem, arrays)
    # h0 and c0 have gradients also where they are left out: they are zero then.
    zeros = np.zeros_like(arrays.dh_n)
    initial = {"h0": arrays.h0 if problem.with_initial else zeros}
    if problem.has_c:
        initial["c0"] = arrays.c0 if problem.with_initial else zeros
    arrays = replace(arrays, **initial)
    rng = np.random.default_rng(problem.seed)

    def check(point: np.ndarray, gradient: np.ndarray, at) -> None:
        assert gradient.shape == point.shape
        assert gradient.dtype == point.dtype
        for direction in directions_through(point, rng):
            expected = derivative_on_one_side(
                lambda s, d=direction: loss_and_pattern(problem, at(point + s * d)),
                problem.bends,
            )
            assume(expected is not None)
            np.testing.assert_allclose(np.sum(gradient * direction), expected, **FINITE_DIFFERENCE)

    assert list(grads.params) == list(arrays.params)
    for name, w in arrays.params.items():
        check(
            w, grads.params[name], lambda w, n=name: replace(arrays, params=arrays.params | {n: w})
        )
    check(arrays.x, grads.x, lambda x: replace(arrays, x=x))
    check(arrays.h0, grads.h0, lambda h0: replace(arrays, h0=h0))
    if problem.has_c:
        check(arrays.c0, grads.c0, lambda c0: replace(arrays, c0=c0))
    else:
        assert grads.c0 is None


@settings(max_examples=25)
@given(
    problem=problems(
        hidden=(1, 3), dtypes=("float64",), max_times=3, max_batch=2, max_inputs=2, max_layers=2
    )
)
def test_h_norm_is_the_norm_of_the_derivative_in_h_t(problem: Problem) -> None:
    """A cell that adds a nudge to one element of h_t, in one step of one run, measures dL/dh_t."""
    arrays = problem.arrays()
    _, grads = run(problem, arrays)
    cell = CELLS[problem.cell]

    def nudged_loss(call: int, element: tuple[int, int], nudge: float):
        calls = itertools.count()

        def forward(pre, rec, state, drop, *own):
            (h, *c), tape = cell.forward(pre, rec, state, drop, *own)
            if next(calls) == call:
                h = h.copy()
                h[element] += nudge
            return (h, *c), tape

        nudged = type("Nudged", (cell,), {"forward": staticmethod(forward)})
        with mock.patch.dict(CELLS, {problem.cell: nudged}):
            loss, pattern = loss_and_pattern(problem, arrays)
        if pattern.size:
            pattern[call][element] = False  # the nudge itself may change this sign
        return loss, pattern

    runs = problem.layers * problem.directions
    expected = np.zeros((runs, problem.times))
    for i, s in np.ndindex(runs, problem.times):
        reverse = problem.bidirectional and i % 2 == 1
        t = problem.times - 1 - s if reverse else s
        for element in np.ndindex(problem.batch, problem.hidden):
            place = (i * problem.times + s, element)
            slope = derivative_on_one_side(
                lambda nudge, p=place: nudged_loss(*p, nudge), problem.bends
            )
            assume(slope is not None)
            expected[i, t] = np.hypot(expected[i, t], slope)
    np.testing.assert_allclose(grads.h_norm, expected, **FINITE_DIFFERENCE)


@given(problem=problems(max_layers=2))
def test_dtypes_and_shapes(problem: Problem) -> None:
    arrays = problem.arrays()
    out, grads = run(problem, arrays)
    runs, dtype = problem.layers * problem.directions, np.dtype(problem.dtype)
    assert out.y.shape == arrays.dy.shape
    assert out.h_n.shape == grads.h0.shape == (runs, problem.batch, problem.hidden)
    assert grads.h_norm.shape == (runs, problem.times)
    assert (out.c_n is None) == (grads.c0 is None) == (not problem.has_c)
    results = [out.y, out.h_n, grads.x, grads.h0, grads.h_norm, *grads.params.values()]
    assert {a.dtype for a in results} == {dtype}


@given(problem=problems(dtypes=("float64",), max_layers=2, ragged=True))
def test_what_lies_past_the_end_does_not_matter(problem: Problem) -> None:
    """NaN in x and dy past a sequence's end changes nothing, and y and dx are zero there."""
    arrays = problem.arrays()
    past = np.arange(problem.times)[:, None] >= np.array(problem.lengths, dtype=int)
    if problem.batch_first:
        past = past.T
    out, grads = run(problem, arrays)
    dirty = replace(arrays, x=arrays.x.copy(), dy=arrays.dy.copy())
    dirty.x[past] = dirty.dy[past] = np.nan
    out2, grads2 = run(problem, dirty)
    assert not out.y[past].any()
    assert not grads.x[past].any()
    np.testing.assert_array_equal(out.y, out2.y)
    np.testing.assert_array_equal(out.h_n, out2.h_n)
    np.testing.assert_array_equal(grads.x, grads2.x)
    np.testing.assert_array_equal(grads.h_norm, grads2.h_norm)
    for name in grads.params:
        np.testing.assert_array_equal(grads.params[name], grads2.params[name])


@given(problem=problems(dtypes=("float64",), max_layers=2, ragged=True))
def test_a_ragged_batch_is_its_sequences_one_by_one(problem: Problem) -> None:
    problem = replace(problem, batch_first=False)
    arrays = problem.arrays()
    out, _ = run(problem, arrays)
    for b, length in enumerate(problem.lengths):
        h0, c0 = (None if s is None else s[:, b : b + 1] for s in (arrays.h0, arrays.c0))
        alone = reference.forward(problem.cell, arrays.x[:length, b : b + 1], arrays.params, h0, c0)
        # Another batch size may sum in another order.
        np.testing.assert_allclose(out.y[:length, b], alone.y[:, 0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(out.h_n[:, b], alone.h_n[:, 0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_saturated_gates_stay_finite(cell: str, dtype: str) -> None:
    """Warnings are errors here, so an overflow in exp would show."""
    problem = Problem(cell, 3, 2, 2, 4, 1, False, True, False, None, True, dtype, seed=0)
    arrays = problem.arrays()
    out, grads = run(problem, replace(arrays, x=arrays.x * 1e4))
    assert all(np.isfinite(a).all() for a in (out.y, grads.x, *grads.params.values()))


def test_head_parameters_are_ignored_and_no_tape_is_kept_unless_needed() -> None:
    problem = Problem("gru", 3, 2, 2, 4, 1, False, True, False, None, False, "float64", seed=0)
    arrays = problem.arrays()
    params = arrays.params | {"weight_hy": np.ones((1, 4)), "bias_hy": np.ones(1)}
    out = reference.forward("gru", arrays.x, params, need_grad=False)
    assert out.tape is None
    grads = reference.backward(reference.forward("gru", arrays.x, params).tape, arrays.dy)
    assert list(grads.params) == list(arrays.params)


def test_nothing_to_differentiate_gives_zeros() -> None:
    problem = Problem("lstm", 3, 2, 2, 4, 2, True, True, False, None, True, "float64", seed=0)
    arrays = problem.arrays()
    out = reference.forward("lstm", arrays.x, arrays.params, arrays.h0, arrays.c0)
    grads = reference.backward(out.tape)
    results = (grads.x, grads.h0, grads.c0, grads.h_norm, *grads.params.values())
    assert not any(a.any() for a in results)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"cell": "rnn"},
            f"cell: expected one of {', '.join(map(repr, sorted(CELLS)))}, got 'rnn'",
        ),
        ({"c0": np.ones((1, 2, 4))}, "c0: expected None for cell 'gru', got an array"),
        ({"h0": np.ones((2, 4))}, "h0: expected shape (1, 2, 4), got (2, 4)"),
        ({"lengths": [3]}, "lengths: expected shape (2,), got (1,)"),
        ({"lengths": [3, 4]}, "lengths: expected integers in [0, 3], got [3, 4]"),
        ({"lengths": [-1, 3]}, "lengths: expected integers in [0, 3], got [-1, 3]"),
    ],
)
def test_forward_says_what_is_wrong(arguments: dict, message: str) -> None:
    problem = Problem("gru", 3, 2, 2, 4, 1, False, True, False, None, False, "float64", seed=0)
    arrays = problem.arrays()
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole text is compared below)
        reference.forward(**({"cell": "gru", "x": arrays.x, "params": arrays.params} | arguments))
    assert str(error.value) == message


def test_head_gradients_are_derivatives() -> None:
    rng = np.random.default_rng(0)
    params = {"weight_hy": rng.standard_normal((3, 4)), "bias_hy": rng.standard_normal(3)}
    h, dy = rng.standard_normal((5, 2, 4)), rng.standard_normal((5, 2, 3))
    dh, grads = reference.head_backward(h, dy, params)

    def check(point: np.ndarray, gradient: np.ndarray, y) -> None:
        for direction in directions_through(point, rng):
            expected = derivative(lambda s, d=direction: np.sum(y(point + s * d) * dy))
            np.testing.assert_allclose(np.sum(gradient * direction), expected, **FINITE_DIFFERENCE)

    check(h, dh, lambda h: reference.head_forward(h, params))
    for name, w in params.items():
        check(w, grads[name], lambda w, n=name: reference.head_forward(h, params | {n: w}))
