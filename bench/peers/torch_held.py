"""PyTorch's parametrizations, which hold weights where a penalty would only draw them.

spectral_norm divides W by σ₁, with one power iteration a step; orthogonal makes W the exponential
of a skew matrix; weight_norm learns length and direction of rows apart. Not what normrnn does, but
what one would take there: it is checked that they do what they promise; results are not compared.
"""

from __future__ import annotations

import torch
from torch.nn.utils import parametrizations

from bench.norms.updates import UpdateProblem, W
from bench.peers import INSTEAD
from bench.peers.contract import Call, Peer
from bench.peers.torch_penalties import optimiser_of
from bench.worker import DiffersError


def prepare(problem: UpdateProblem, threads: int) -> dict[str, Call]:
    torch.set_num_threads(threads)
    given, g = torch.from_numpy(problem.params[W]), torch.from_numpy(problem.grads[W])
    way = INSTEAD[problem.point.option]
    linear = torch.nn.Linear(*reversed(given.shape), bias=False)
    linear.weight.data.copy_(given)
    module = getattr(parametrizations, way)(linear)
    optimiser = optimiser_of(problem.point.rule, list(module.parameters()))
    look_at(way, module.weight.detach(), given)

    def step() -> None:
        optimiser.zero_grad()
        module.weight.backward(g)
        optimiser.step()

    return {"step": Call(step, lambda _: {W: module.weight.detach().numpy()})}


def look_at(way: str, w: torch.Tensor, given: torch.Tensor) -> None:
    """Refuse a parametrization that does not hold what it is for."""
    off = {
        "orthogonal": lambda: (w.T @ w - torch.eye(len(w))).abs().max(),
        "spectral_norm": lambda: (torch.linalg.matrix_norm(w, 2) - 1).abs(),
        "weight_norm": lambda: (w - given).abs().max(),
    }[way]()
    # Power iteration has its σ₁ to some per cent at first; the others are right to rounding.
    if off > (0.1 if way == "spectral_norm" else 1e-3):
        raise DiffersError(f"{way}: off by {off:.2g}")


PEER = Peer("torch-parametrized", torch.__version__, prepare, same=False)
