"""PyTorch's penalties, proxes, constraints and clips: what it has, or a few lines on tensors.

weight_decay and clip_grad are there. A penalty is added to the loss, and autograd's gradient of it
to the one that is there; under AdamW it is subtracted from the weights, as the rule does with its
weight decay. Proxes and constraints follow the fused optimiser's step; under Adam the step sizes of
a prox come out of its second moments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.linalg import matrix_norm, vector_norm
from torch.nn.functional import normalize
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from bench.norms.updates import LAMBDA, LR, MOMENTUM, SPECTRAL, UpdateProblem, bound, scheduled
from bench.peers.contract import Call, Peer
from bench.peers.torch_groups import GROUPS, Tensor, Tensors

Sizes = list[Any]  # of a proximal step: a number or a tensor for each parameter


@dataclass(frozen=True)
class Way:
    """How to do it.

    Attributes
    ----------
    decay : callable, optional
        weight_decay at an update, counted from 1.
    value : callable, optional
        The penalty of the weights and of the problem's array, for autograd.
    clip : callable, optional
        Changes the gradients in place before the step. A clipped gradient stays clipped, and is
        clipped again in the next call at the same price.
    after : callable, optional
        Changes the weights in place after the step, given the sizes of a proximal one.
    """

    decay: Callable[[int], float] | None = None
    value: Callable[[Tensors, Tensor], Tensor] | None = None
    clip: Callable[[Tensors], object] | None = None
    after: Callable[[Tensors, Sizes], object] | None = None


def each(change: Callable[[Tensor, Any], object]) -> Callable[[Tensors, Sizes], None]:
    def after(ws: Tensors, sizes: Sizes) -> None:
        for w, h in zip(ws, sizes, strict=True):
            change(w, h)

    return after


def soften(w: Tensor, h: Any) -> None:
    """Take the proximal step of λ |w|."""
    w.sub_(w.clamp(-h * LAMBDA, h * LAMBDA))


def soften_and_shrink(w: Tensor, h: Any) -> None:
    soften(w, h)
    w.div_(1 + 2 * h * LAMBDA)


def sparse_groups(ws: Tensors, sizes: Sizes) -> None:
    each(soften)(ws, sizes)
    GROUPS["rows"].shrink(LAMBDA, ws, sizes)


def clip_ratio(ws: Tensors) -> None:
    """Hold each row's gradient to a part of its weights' norm."""
    for w in ws:
        norms = vector_norm(w.grad, dim=1, keepdim=True)
        most = 0.01 * vector_norm(w.detach(), dim=1, keepdim=True).clamp_(min=1e-3)
        w.grad.mul_((most / norms).clamp_(max=1))


def new_singular_values(change: Callable[[Tensor, float], Tensor]) -> Way:
    def after(w: Tensor, h: float) -> None:
        u, sigma, vt = torch.linalg.svd(w, full_matrices=False)
        w.copy_((u * change(sigma, h)) @ vt)

    return Way(after=each(after))


WAYS = {
    "nothing": Way(),
    "L2": Way(decay=lambda _: 2 * LAMBDA),
    "L2, a function of the step": Way(decay=lambda step: 2 * scheduled(step)),
    "L2 with center": Way(value=lambda ws, a: LAMBDA * (ws[0] - a).square().sum()),
    "L2 with weights": Way(value=lambda ws, a: LAMBDA * (a * ws[0].square()).sum()),
    "L1": Way(value=lambda ws, _: LAMBDA * ws[0].abs().sum()),
    "ElasticNet": Way(decay=lambda _: 2 * LAMBDA, value=lambda ws, _: LAMBDA * ws[0].abs().sum()),
    "Prox(L2)": Way(after=each(lambda w, h: w.div_(1 + 2 * h * LAMBDA))),
    "Prox(L1)": Way(after=each(soften)),
    "Prox(ElasticNet)": Way(after=each(soften_and_shrink)),
    "NonNegative": Way(after=each(lambda w, _: w.clamp_(min=0))),
    "clip_norm": Way(clip=lambda ws: clip_grad_norm_(ws, 1.0)),
    "clip_value": Way(clip=lambda ws: clip_grad_value_(ws, 0.5)),
    "clip_ratio": Way(clip=clip_ratio),
    **{
        f"GroupLasso, {kind}": Way(value=lambda ws, _, groups=groups: groups.lasso(LAMBDA, ws))
        for kind, groups in GROUPS.items()
    },
    **{
        f"Prox(GroupLasso), {kind}": Way(
            after=lambda ws, sizes, groups=groups: groups.shrink(LAMBDA, ws, sizes)
        )
        for kind, groups in GROUPS.items()
    },
    "Prox(SparseGroupLasso), rows": Way(after=sparse_groups),
    "MaxNorm, rows": Way(
        after=each(lambda w, _: w.copy_(torch.renorm(w, 2, 0, bound(w.shape[1]))))
    ),
    "MaxNorm, columns": Way(
        after=each(lambda w, _: w.copy_(torch.renorm(w, 2, 1, bound(w.shape[0]))))
    ),
    "UnitNorm, rows": Way(after=each(lambda w, _: w.copy_(normalize(w, dim=1)))),
    "SoftOrthogonality": Way(
        value=lambda ws, _: LAMBDA * (ws[0].T @ ws[0] - torch.eye(len(ws[0].T))).square().sum()
    ),
    "NuclearNorm": Way(value=lambda ws, _: LAMBDA * matrix_norm(ws[0], "nuc")),
    "Prox(NuclearNorm)": new_singular_values(lambda s, h: (s - h * LAMBDA).clamp_(min=0)),
    "SpectralNorm": Way(value=lambda ws, _: SPECTRAL / 2 * matrix_norm(ws[0], 2).square()),
    "SpectralCap": new_singular_values(lambda s, _: s.clamp_(max=1.0)),
}


def optimiser_of(rule: str, ws: Tensors) -> torch.optim.Optimizer:
    """Make PyTorch's fused optimiser of a rule."""
    make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}.get(rule, torch.optim.SGD)
    given: dict[str, Any] = {"weight_decay": 0.0, "fused": True}
    if rule in ("momentum", "nesterov"):
        given |= {"momentum": MOMENTUM, "nesterov": rule == "nesterov"}
    return make(ws, lr=LR, **given)


def prox_sizes(rule: str, optimiser: torch.optim.Optimizer, ws: Tensors) -> Sizes:
    """Return the step sizes of a prox after the optimiser's step."""
    if rule != "adam":
        return [LR / (1 - MOMENTUM) if rule in ("momentum", "nesterov") else LR] * len(ws)
    (group,) = optimiser.param_groups
    sizes = []
    for w in ws:
        kept = optimiser.state[w]
        scale = (1 - group["betas"][1] ** kept["step"].item()) ** -0.5
        root = kept["exp_avg_sq"].sqrt().mul_(scale).add_(group["eps"])
        sizes.append(LR / root)
    return sizes


def prepare(problem: UpdateProblem, threads: int) -> dict[str, Call]:
    torch.set_num_threads(threads)
    ways = {"step": WAYS[problem.point.option], "plain": WAYS["nothing"]}
    return {name: call(problem, way) for name, way in ways.items()}


def call(problem: UpdateProblem, way: Way) -> Call:
    """Return an update by a way, with weights and slots of its own."""
    rule = problem.point.rule
    ws = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in problem.params.values()]
    given = [torch.from_numpy(g) for g in problem.grads.values()]
    for w, g in zip(ws, given, strict=True):
        w.grad = g.clone()
    array = torch.from_numpy(problem.array)
    optimiser = optimiser_of(rule, ws)
    count = 0

    def add_gradients() -> None:
        pulls = torch.autograd.grad(way.value(ws, array), ws)
        for w, g, pull in zip(ws, given, pulls, strict=True):
            if rule == "adamw":
                w.data.sub_(pull, alpha=LR)
            else:
                torch.add(g, pull, out=w.grad)

    def step() -> None:
        nonlocal count
        count += 1
        if way.decay:
            optimiser.param_groups[0]["weight_decay"] = way.decay(count)
        if way.value:
            add_gradients()
        if way.clip:
            way.clip(ws)
        optimiser.step()
        if way.after:
            with torch.no_grad():
                way.after(ws, prox_sizes(rule, optimiser, ws))

    names = list(problem.params)
    return Call(step, lambda _: {n: w.detach().numpy() for n, w in zip(names, ws, strict=True)})


PEER = Peer("torch", torch.__version__, prepare)
