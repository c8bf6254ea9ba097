"""PyTorch's optimisers with weight decay: one fused kernel, or one kernel per operation."""

from __future__ import annotations

from functools import partial

import torch

from bench.peers.contract import Call, Peer
from bench.update_points import UpdateProblem


def prepare(problem: UpdateProblem, threads: int, way: str) -> dict[str, Call]:
    torch.set_num_threads(threads)
    point = problem.point
    params = {name: torch.from_numpy(w.copy()) for name, w in problem.params.items()}
    for name, w in params.items():
        w.grad = torch.from_numpy(problem.grads[name])
    optimiser = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[point.rule](
        params.values(), lr=point.lr, weight_decay=point.decay, **{way: True}
    )
    return {
        "update": Call(optimiser.step, lambda _: {name: w.numpy() for name, w in params.items()})
    }


FUSED = Peer("torch-fused", torch.__version__, partial(prepare, way="fused"))
FOREACH = Peer("torch-foreach", torch.__version__, partial(prepare, way="foreach"))
