"""Forward + backward with state penalties and without: what they cost, here and in PyTorch.

The rows "torch" are PyTorch's own way of doing the same: the penalty is written down on the output
and autograd goes through it, `clip_state` is a hook on every h_t of a Python loop over cells, and
Omega is a loop by hand, for no module gives out the gradients of its steps. Results are compared
before they are timed. Without PyTorch (the `test` extra) only normrnn's rows run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from bench.points import Point, Problem, assert_close, make_problem

AR_TAR = [nr.AR(2.0), nr.TAR(1.0)]
OPTIONS: dict[str, dict[str, Any]] = {
    "without": {},
    "clip_state": {"clip_state": 1.0},
    "activity": {"state_penalty": [nr.ActivityL1(0.1), nr.ActivityL2(0.1)]},
    "ar_tar": {"state_penalty": AR_TAR},
    "norm_stabilizer": {"state_penalty": nr.NormStabilizer(5.0)},
    "omega": {"state_penalty": nr.Omega(0.1)},
}
ROWS = [
    (cell, option)
    for cell in ("rnn_tanh", "gru", "lstm")
    for option in OPTIONS
    if option != "omega" or cell == "rnn_tanh"
]


def problem_of(cell: str) -> Problem:
    return make_problem(Point(cell, 100, 32, 128, 256))


@pytest.mark.parametrize(("cell", "option"), ROWS)
def test_state_penalty(cell: str, option: str, timed: Callable[..., None]) -> None:
    problem = problem_of(cell)

    def call() -> nr.results.Gradients:
        tape = nr.forward(cell, problem.x, problem.params).tape
        return nr.backward(tape, problem.dy, **OPTIONS[option])

    timed(call, flops=3 * problem.flops)


@pytest.mark.parametrize("option", ["without", "ar_tar"])
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_state_penalty_in_torch(cell: str, option: str, timed: Callable[..., None]) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(nr.get_num_threads())
    problem = problem_of(cell)
    kind = {"rnn_tanh": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
    module = kind(128, 256)
    module.load_state_dict({name: torch.tensor(w) for name, w in problem.params.items()})
    x = torch.tensor(problem.x, requires_grad=True)
    dy = torch.tensor(problem.dy)

    def call() -> None:
        module.zero_grad()
        x.grad = None
        y, _ = module(x)
        loss = (y * dy).sum()
        if option == "ar_tar":
            loss = loss + 2.0 * y.pow(2).mean() + torch.diff(y, dim=0).pow(2).mean()
        loss.backward()

    call()
    tape = nr.forward(cell, problem.x, problem.params).tape
    got = nr.backward(tape, problem.dy, **OPTIONS[option])
    assert_close(got.x, x.grad.numpy())
    for name, w in module.named_parameters():
        assert_close(got.params[name], w.grad.numpy())
    timed(call, flops=3 * problem.flops)


def torch_steps(x: Any, params: dict[str, Any], clip: float | None) -> Any:
    """Run an Elman network as a Python loop over steps; every h_t [B, H], to be got hold of."""
    torch = pytest.importorskip("torch")
    pre = x @ params["weight_ih_l0"].T + params["bias_ih_l0"] + params["bias_hh_l0"]
    h = torch.zeros(x.shape[1], 256)
    steps = []
    for one in pre:
        h = torch.tanh(one + h @ params["weight_hh_l0"].T)
        if clip is None:
            h.retain_grad()
        else:
            h.register_hook(lambda g: g.clamp(-clip, clip))
        steps.append(h)
    return steps


@pytest.mark.parametrize("option", ["clip_state", "omega"])
def test_state_penalty_in_a_torch_loop(option: str, timed: Callable[..., None]) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(nr.get_num_threads())
    problem = problem_of("rnn_tanh")
    params = {name: torch.tensor(w, requires_grad=True) for name, w in problem.params.items()}
    x, dy = torch.tensor(problem.x), torch.tensor(problem.dy)

    def call() -> None:
        for w in params.values():
            w.grad = None
        steps = torch_steps(x, params, 1.0 if option == "clip_state" else None)
        (torch.stack(steps) * dy).sum().backward()
        if option == "omega":
            h = torch.stack(steps).detach()
            g = torch.stack([one.grad for one in steps])
            q = (g * (1 - h * h)) @ params["weight_hh_l0"]
            (0.1 * (q.norm(dim=2) / g.norm(dim=2) - 1).square().sum()).backward()

    call()
    tape = nr.forward("rnn_tanh", problem.x, problem.params).tape
    got = nr.backward(tape, problem.dy, **OPTIONS[option])
    for name, w in params.items():
        grad = w.grad.numpy()
        # Sums of 3200 steps of a gradient that a long product made: in float32 some 1e-4 of them.
        scale = np.abs(grad).max()
        np.testing.assert_allclose(got.params[name], grad, rtol=0, atol=1e-3 * scale)
    timed(call, flops=3 * problem.flops)
