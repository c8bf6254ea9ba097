"""PyTorch's way to each kind of dropout: around torch.nn's fused layers, or a loop over the steps.

Masks on x, y, between layers and on W_hh can be put around torch.nn.LSTM and GRU. What goes into a
step (state, candidate, zoneout) they cannot do, so there the recurrence is a Python loop, with U x
for all steps done before it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import dropout, linear

from bench.peers.torch_eager import Tensors, module_of
from bench.points import Problem

IN_A_STEP = ("state", "candidate", "zoneout_h", "zoneout_c")


def train_step(problem: Problem, kind: str, p: float, threads: int) -> Callable[[], Tensors]:
    """Return a call that runs forward and backward with one kind of dropout."""
    torch.set_num_threads(threads)
    module = module_of(problem)
    if kind == "between":
        module.dropout = p
    params = dict(module.named_parameters())
    x = torch.from_numpy(problem.x).requires_grad_()
    dy = torch.from_numpy(problem.dy)

    def y() -> torch.Tensor:
        if kind in IN_A_STEP:
            return loop(problem.cell, x, params, kind, p)
        weights = params
        if kind == "weight":
            weights = params | {"weight_hh_l0": dropout(params["weight_hh_l0"], p)}
        taken = dropout(x, p) if kind == "input" else x
        made = torch.func.functional_call(module, weights, (taken,))[0]
        return dropout(made, p) if kind == "output" else made

    return lambda: list(torch.autograd.grad(y(), [x, *params.values()], dy))


def loop(
    cell: str, x: torch.Tensor, params: dict[str, torch.Tensor], kind: str, p: float
) -> torch.Tensor:
    """One layer, step by step: y [T, B, H]."""
    w, b = params["weight_hh_l0"], params["bias_hh_l0"]
    inputs = linear(x, params["weight_ih_l0"], params["bias_ih_l0"])
    shape = (x.shape[1], w.shape[1])
    h = c = x.new_zeros(shape)
    of_state = dropout(x.new_ones(shape), p) if kind == "state" else None
    outputs = []

    def candidate(value: torch.Tensor) -> torch.Tensor:
        return dropout(value, p) if kind == "candidate" else value

    def zoned(name: str, new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
        return torch.where(torch.rand(shape) < p, old, new) if kind == name else new

    for given in inputs:
        rec = linear(h if of_state is None else h * of_state, w, b)
        if cell == "lstm":
            i, f, g, o = (given + rec).chunk(4, 1)
            new_c = f.sigmoid() * c + i.sigmoid() * candidate(g.tanh())
            h = zoned("zoneout_h", o.sigmoid() * new_c.tanh(), h)
            c = zoned("zoneout_c", new_c, c)
        else:
            r, z, n = given.chunk(3, 1)
            rec_r, rec_z, rec_n = rec.chunk(3, 1)
            n = candidate((n + (r + rec_r).sigmoid() * rec_n).tanh())
            h = zoned("zoneout_h", n + (z + rec_z).sigmoid() * (h - n), h)
        outputs.append(h)
    return torch.stack(outputs)
