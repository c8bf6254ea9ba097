"""The same work for normrnn and for PyTorch with cuDNN, on the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import normrnn as nr
from bench.gpu.timing import DTYPES
from bench.peers.torch_eager import module_of
from bench.points import Problem

Calls = dict[str, Callable[[], dict[str, torch.Tensor]]]
# ‖ours - cuDNN's‖ / ‖cuDNN's‖: operands of 24, 11, 8 and 11 bits; cuDNN's half precision also keeps
# its states and gates in it.
AGREEMENT = {"float32": 1e-3, "tf32": 1e-2, "bfloat16": 1e-1, "float16": 3e-2}


def ours(problem: Problem, precision: str) -> Calls:
    """Return normrnn's operations: float32 arrays, operands of products as asked for."""
    x, dy = torch.from_numpy(problem.x).cuda(), torch.from_numpy(problem.dy).cuda()
    params = {name: torch.from_numpy(w).cuda() for name, w in problem.params.items()}

    def run(need_grad: bool) -> Any:
        return nr.forward(problem.cell, x, params, need_grad=need_grad, precision=precision)

    def train() -> dict[str, torch.Tensor]:
        grads = nr.backward(run(True).tape, dy)
        return {"dx": grads.x, **grads.params}

    return {
        "forward": lambda: {"y": run(False).y},
        "tape": lambda: {"y": (out := run(True)).y, "tape": out.tape},
        "train": train,
    }


def cudnn(problem: Problem, precision: str) -> Calls:
    """Return PyTorch's: module and arrays of the precision's dtype."""
    dtype = DTYPES[precision]
    module = module_of(problem).cuda().to(dtype)
    module.flatten_parameters()
    x = torch.from_numpy(problem.x).cuda().to(dtype)
    dy = torch.from_numpy(problem.dy).cuda().to(dtype)
    x_grad = x.clone().requires_grad_()
    names, params = zip(*module.named_parameters(), strict=True)

    @torch.inference_mode()
    def forward() -> dict[str, torch.Tensor]:
        return {"y": module(x)[0]}

    def train() -> dict[str, torch.Tensor]:
        found = torch.autograd.grad(module(x_grad)[0], [x_grad, *params], dy)
        return dict(zip(["dx", *names], found, strict=True))

    return {"forward": forward, "tape": lambda: {"y": module(x_grad)[0]}, "train": train}


def differences(
    got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> dict[str, float]:
    """Return the relative l2 norm of each array's difference; NaN stays NaN."""
    found = {}
    for name, array in expected.items():
        one, other = got[name].double(), array.detach().double()
        norm = torch.linalg.vector_norm
        found[name] = float(norm(one - other) / norm(other).clamp_min(1e-30))
    return found


def updates(rule: str, size: int) -> dict[str, Callable[[], Any]]:
    """Return an update of so many weights by normrnn and by PyTorch's fused optimiser."""
    w, g = (torch.randn(size, device="cuda") for _ in range(2))
    params, grads = {"weight": w.clone()}, {"weight": g}
    own = {"sgd": nr.SGD(lr=1e-3), "adam": nr.Adam(lr=1e-3)}[rule]
    state = nr.init_state(own, params)
    parameter = torch.nn.Parameter(w.clone())
    parameter.grad = g.clone()
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[rule]
    optimiser = kind([parameter], lr=1e-3, fused=True)
    return {
        "normrnn": lambda: nr.update(params, grads, state, rule=own, check_finite=False),
        "normrnn, L2": lambda: nr.update(params, grads, state, rule=own, penalty=nr.L2(1e-4)),
        "torch fused": lambda: optimiser.step(),
    }
