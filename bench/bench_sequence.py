"""Forward inference, forward with tape, and forward + backward: the core against the reference.

U x is inside every figure; the flops are those of the products with U and W, three times over for
forward + backward.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import normrnn as nr
from bench.points import Point, Problem, assert_close, assert_close_but_for_kinks, make_problem
from normrnn import reference


def test_forward(problem: Problem, engine: str, timed: Callable[..., None]) -> None:
    cell, x, params = problem.cell, problem.x, problem.params
    expected = reference.forward(cell, x, params, need_grad=False)
    assert_close(nr.forward(cell, x, params, need_grad=False).y, expected.y)
    run = nr.forward if engine == "core" else reference.forward
    timed(
        lambda: run(cell, x, params, need_grad=False), flops=problem.flops, slow=engine == "numpy"
    )


def test_forward_tape(problem: Problem, engine: str, timed: Callable[..., None]) -> None:
    cell, x, params = problem.cell, problem.x, problem.params
    assert_close(nr.forward(cell, x, params).y, reference.forward(cell, x, params).y)
    run = nr.forward if engine == "core" else reference.forward
    timed(lambda: run(cell, x, params), flops=problem.flops, slow=engine == "numpy")


def test_forward_backward(problem: Problem, engine: str, timed: Callable[..., None]) -> None:
    cell, x, params, dy = problem.cell, problem.x, problem.params, problem.dy
    got = nr.backward(nr.forward(cell, x, params).tape, dy)
    expected = reference.backward(reference.forward(cell, x, params).tape, dy)
    check = assert_close_but_for_kinks if cell == "rnn_relu" else assert_close
    check(got.x, expected.x)
    for name, gradient in expected.params.items():
        check(got.params[name], gradient)
    module = nr if engine == "core" else reference
    timed(
        lambda: module.backward(module.forward(cell, x, params).tape, dy),
        flops=3 * problem.flops,
        slow=engine == "numpy",
    )


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
@pytest.mark.parametrize(("batch", "hidden"), [(8, 512), (64, 512), (8, 1536)])
def test_forward_bfloat16(cell: str, batch: int, hidden: int, timed: Callable[..., None]) -> None:
    problem = make_problem(Point(cell, 25, batch, hidden, hidden))
    x, params = problem.x, nr.freeze(cell, problem.params, precision="bfloat16")
    expected = reference.forward(cell, x[:4], problem.params, precision="bfloat16").y
    got = nr.forward(cell, x, params, precision="bfloat16", need_grad=False).y[:4]
    # How a value is rounded can depend on the last bit of a sum: 2^-8 of it, times a few weights.
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-2)
    timed(
        lambda: nr.forward(cell, x, params, precision="bfloat16", need_grad=False),
        flops=problem.flops,
    )
