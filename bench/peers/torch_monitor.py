"""PyTorch's way of watching: hooks on the parameters, and norms taken after the optimiser's step.

torch.nn's modules keep their gates and the gradients of their steps to themselves, so saturation,
silent units and gradient flow are not there.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from bench.norms.monitor import COMPARED, MonitorProblem
from bench.peers.contract import Arrays, Call, Peer
from bench.peers.torch_eager import module_of
from bench.points import GATES


def prepare(problem: MonitorProblem, threads: int) -> dict[str, Call]:
    torch.set_num_threads(threads)
    point = problem.point
    x, target = torch.from_numpy(problem.x), torch.from_numpy(problem.target)
    module = module_of(SimpleNamespace(point=point.shape, params=problem.params))
    optimiser = torch.optim.Adam(module.parameters(), lr=problem.lr, fused=True)
    history: dict[str, list[float]] = {name: [] for name in COMPARED}
    due = False

    def norms(name: str, w: Tensor) -> None:
        gates = w.detach().unflatten(0, (GATES[point.cell], -1)).flatten(1)
        norms = torch.linalg.vector_norm(gates, dim=1)
        history[name] += norms.tolist()
        if len(norms) > 1:
            history[name].append(torch.linalg.vector_norm(norms).item())  # of all gates

    def hook(parameter: Tensor) -> None:
        if due:
            norms("grad_l2", parameter.grad)

    for parameter in module.parameters():
        parameter.register_post_accumulate_grad_hook(hook)

    def block() -> None:
        nonlocal due
        for step in range(point.steps):
            due = step % point.every == 0
            optimiser.zero_grad()
            loss = mse_loss(module(x)[0], target)
            loss.backward()
            optimiser.step()
            history["loss"].append(loss.item())
            if due:
                for parameter in module.parameters():
                    norms("weight_l2", parameter)
                sigma = torch.linalg.matrix_norm(module.weight_hh_l0.detach(), 2)
                history["weight_sigma"].append(sigma.item())

    def read(_: None) -> Arrays:
        # Hooks come in autograd's order, so norms are compared by size.
        found = {name: np.array(values) for name, values in history.items()}
        return found | {name: np.sort(found[name]) for name in COMPARED[1:]}

    return {"step": Call(block, read)}


PEER = Peer("torch", torch.__version__, prepare)
