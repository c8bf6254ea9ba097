"""What removing dead units buys: forward + backward before `shrink` and after it.

The flops are those of the network that runs, so a fraction of peak that stays where it was says
that time falls in proportion to the products left.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import normrnn as nr
from bench.points import Point, assert_close, make_problem


@pytest.mark.parametrize("live", [1.0, 0.5, 0.25, 0.125])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_shrunk_forward_backward(
    cell: str, layers: int, live: float, timed: Callable[..., None]
) -> None:
    hidden = 512
    problem = make_problem(Point(cell, 64, 32, 128, hidden, layers))
    x, params = problem.x, problem.params
    rng = np.random.default_rng(0)
    params["weight_hy"] = rng.standard_normal((10, hidden), np.float32) / np.float32(hidden**0.5)
    dead = rng.permutation(hidden)[int(live * hidden) :]
    for name, w in params.items():  # as group lasso on outgoing weights leaves them
        if name.startswith(("weight_hh", "weight_ih_l1", "weight_hy")):
            w[:, dead] = 0
    smaller = nr.shrink(cell, params)
    assert smaller.hidden_size == int(live * hidden)
    before = nr.head_forward(nr.forward(cell, x, params, need_grad=False).y, params)
    after = nr.forward(cell, x, smaller.params, need_grad=False).y
    assert_close(nr.head_forward(after, smaller.params), before)
    dy = np.ascontiguousarray(problem.dy[..., : smaller.hidden_size])
    timed(
        lambda: nr.backward(nr.forward(cell, x, smaller.params).tape, dy),
        flops=3 * problem.point._replace(hidden=smaller.hidden_size).flops,
    )
