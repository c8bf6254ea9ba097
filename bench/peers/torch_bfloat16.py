"""PyTorch with everything in bfloat16: weights, states, gates and gradients."""

from __future__ import annotations

import torch

from bench.peers.contract import Arrays, Call, Peer
from bench.peers.torch_eager import module_of
from bench.points import Problem

Tensors = list[torch.Tensor]


def prepare(problem: Problem, threads: int) -> dict[str, Call]:
    torch.set_num_threads(threads)
    module = module_of(problem).to(torch.bfloat16)
    names, params = zip(*module.named_parameters(), strict=True)
    x, dy = (torch.from_numpy(a).to(torch.bfloat16) for a in (problem.x, problem.dy))
    x_grad = x.clone().requires_grad_()

    @torch.inference_mode()
    def forward() -> torch.Tensor:
        return module(x)[0]

    def tape() -> torch.Tensor:
        return module(x_grad)[0]

    def train() -> Tensors:
        return torch.autograd.grad(tape(), [x_grad, *params], dy)

    def read_gradients(gradients: Tensors) -> Arrays:
        pairs = zip(["dx", *names], gradients, strict=True)
        return {name: gradient.float().numpy() for name, gradient in pairs}

    return {
        "forward": Call(forward, read_y),
        "tape": Call(tape, read_y),
        "train": Call(train, read_gradients),
    }


def read_y(y: torch.Tensor) -> Arrays:
    return {"y": y.detach().float().numpy()}


PEER = Peer("torch-bfloat16", torch.__version__, prepare)
