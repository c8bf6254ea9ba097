"""PyTorch as everybody calls it: torch.nn.RNN, GRU and LSTM with autograd; all in one dtype."""

from __future__ import annotations

from typing import Any

import torch

from bench.peers.contract import Arrays, Call, Peer
from bench.points import Problem

Tensors = list[torch.Tensor]


def module_of(problem: Problem) -> torch.nn.RNNBase:
    """Make the module with the problem's weights; names and layouts are the same."""
    point = problem.point
    kind = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}.get(point.cell, torch.nn.RNN)
    given: dict[str, Any] = {}
    if kind is torch.nn.RNN:
        given["nonlinearity"] = point.cell.removeprefix("rnn_")
    module = kind(
        point.inputs, point.hidden, point.layers, bidirectional=point.bidirectional, **given
    )
    module.load_state_dict({name: torch.from_numpy(w) for name, w in problem.params.items()})
    return module


def read_y(y: torch.Tensor) -> Arrays:
    return {"y": y.detach().float().numpy()}


def read_gradients(names: list[str], gradients: Tensors) -> Arrays:
    """Name dx and the gradients of the parameters."""
    return dict(zip(["dx", *names], (g.float().numpy() for g in gradients), strict=True))


def prepare(problem: Problem, threads: int, dtype: torch.dtype = torch.float32) -> dict[str, Call]:
    torch.set_num_threads(threads)
    module = module_of(problem).to(dtype)
    names, params = zip(*module.named_parameters(), strict=True)
    x, dy = (torch.from_numpy(array).to(dtype) for array in (problem.x, problem.dy))
    x_grad = x.clone().requires_grad_()

    @torch.inference_mode()
    def forward() -> torch.Tensor:
        return module(x)[0]

    def tape() -> torch.Tensor:
        return module(x_grad)[0]

    def train() -> Tensors:
        return torch.autograd.grad(tape(), [x_grad, *params], dy)

    return {
        "forward": Call(forward, read_y),
        "tape": Call(tape, read_y),
        "train": Call(train, lambda gradients: read_gradients(names, gradients)),
    }


def prepare_bfloat16(problem: Problem, threads: int) -> dict[str, Call]:
    return prepare(problem, threads, torch.bfloat16)


PEER = Peer("torch", torch.__version__, prepare)
BFLOAT16 = Peer("torch-bfloat16", torch.__version__, prepare_bfloat16)
