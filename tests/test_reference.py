"""The NumPy reference against finite differences, PyTorch and its own definitions."""

import itertools
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from helpers import derivative, derivative_on_one_side
from hypothesis import assume, given, settings
from hypothesis import strategies as st
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
    pattern = np.array([h > 0 for h in states]) if problem.cell == "rnn_relu" else np.array([])
    return float(loss), pattern


def directions_through(array: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Two unit vectors that meet every element, and two single elements."""
    dense = [rng.standard_normal(array.shape) for _ in range(2)]
    found = [d / max(np.linalg.norm(d), 1e-300) for d in dense]
    for _ in range(2 if array.size else 0):
        single = np.zeros(array.shape)
        single.flat[rng.integers(array.size)] = 1
        found.append(single)
    return found


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
        assert gradient.shape == point.shape and gradient.dtype == point.dtype
        for direction in directions_through(point, rng):
            expected = derivative_on_one_side(
                lambda s, d=direction: loss_and_pattern(problem, at(point + s * d))
            )
            assume(expected is not None)
            np.testing.assert_allclose(np.sum(gradient * direction), expected, **FINITE_DIFFERENCE)

    assert list(grads.params) == list(arrays.params)
    for name, w in arrays.params.items():
        check(w, grads.params[name], lambda w, n=name: replace(arrays, params=arrays.params | {n: w}))
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

        def forward(pre, rec, state):
            (h, *c), tape = cell.forward(pre, rec, state)
            if next(calls) == call:
                h = h.copy()
                h[element] += nudge
            return (h, *c), tape

        nudged = SimpleNamespace(states=cell.states, forward=forward)
        with mock.patch.dict(CELLS, {problem.cell: nudged}):
            return loss_and_pattern(problem, arrays)

    runs = problem.layers * problem.directions
    expected = np.zeros((runs, problem.times))
    for i, s in np.ndindex(runs, problem.times):
        reverse = problem.bidirectional and i % 2 == 1
        t = problem.times - 1 - s if reverse else s
        for element in np.ndindex(problem.batch, problem.hidden):
            # The nudge itself may move a ReLU's output across 0: a hair's breadth will do.
            slope = derivative_on_one_side(
                lambda nudge, at=(i * problem.times + s, element): nudged_loss(*at, nudge)
            )
            if slope is None:
                call = i * problem.times + s
                slope = derivative(lambda n, at=(call, element): nudged_loss(*at, n)[0], 1e-6)
            expected[i, t] = np.hypot(expected[i, t], slope)
    np.testing.assert_allclose(grads.h_norm, expected, **FINITE_DIFFERENCE)
