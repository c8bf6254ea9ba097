"""Updates with penalties of groups and matrices, beside how one does the same with PyTorch.

Bytes counted are those that must move: weights and slots read and written, gradients read, and what
groups that are not rows need besides; rows are solved while they are in the cache, which counts
nothing. A gradient of columns reads the weights once more. Their prox comes after the step: weights
are read and written once more; under Adam they and their step sizes are kept besides, and read by
the one of Newton's rounds that is counted. Clipping reads the gradients once more. The look at the
gradients before anything is changed is left out (``check_finite=False``). Penalties of matrices do
arithmetic, and no bytes are counted for them.

PyTorch's way is the one that it has (weight_decay, a parametrization, clip_grad), or else autograd
or a few lines on tensors, with the fused optimiser. Where it is the same mathematics the result is
compared before anything is timed. spectral_norm divides W by its spectral norm, with one power
iteration a step: not the penalty, but how one holds it down there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from bench.points import assert_close

if find_spec("torch"):
    import torch

LR, LAMBDA = 0.1, 0.1  # so large that a check of the result sees a missing term
LARGE, SQUARE = (2048, 2048), (512, 512)
RULES = {"sgd": nr.SGD(LR), "adam": nr.Adam(LR)}


@dataclass(frozen=True)
class Row:
    """A penalty or a clip, and what it needs.

    `options` are those of `update`. `more` is the number of arrays that are read or written beside
    the step; None if arithmetic counts. `before` changes a tensor's gradient before the optimiser's
    step, `after` its values after it, and `module` is a parametrization.
    """

    options: dict[str, Any]
    shape: tuple[int, int] = LARGE
    more: int | None = 0
    before: Callable[[Any], None] | None = None
    after: Callable[[Any], None] | None = None
    decay: float = 0.0
    same: bool = True
    rules: tuple[str, ...] = ("sgd",)
    module: Callable[[Any], Any] | None = None


def penalised(value: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Autograd: the gradient of the penalty is added to what is there."""
    return lambda w: value(w).backward()


def shrink_groups(dim: int | tuple[int, int]) -> Callable[[Any], None]:
    """Take the prox of the group lasso."""

    def prox(w: Any) -> None:
        norm = torch.linalg.vector_norm(w, dim=dim, keepdim=True)
        size = w.numel() / norm.numel()
        w.mul_((1 - LR * LAMBDA * size**0.5 / norm).clamp_(min=0))

    return prox


def shrink_singular_values(w: Any) -> None:
    """Take the prox of the nuclear norm."""
    u, sigma, vt = torch.linalg.svd(w, full_matrices=False)
    w.copy_((u * (sigma - LR * LAMBDA).clamp_(min=0)) @ vt)


def lasso(dim: int) -> Callable[[Any], Any]:
    return lambda w: LAMBDA * w.shape[dim] ** 0.5 * torch.linalg.vector_norm(w, dim=dim).sum()


def far_from_orthogonal(w: Any) -> Any:
    return LAMBDA * (w.T @ w - torch.eye(len(w))).square().sum()


def adaptive_clip(w: Any) -> None:
    """Hold each row's gradient to a part of its weights' norm."""
    norms = torch.linalg.vector_norm(w.grad, dim=1, keepdim=True)
    most = 0.01 * torch.linalg.vector_norm(w.detach(), dim=1, keepdim=True).clamp_(min=1e-3)
    w.grad.mul_((most / norms).clamp_(max=1))


BOTH = ("sgd", "adam")
ROWS = {
    "L2": Row({"penalty": nr.L2(LAMBDA)}, decay=2 * LAMBDA, rules=BOTH),
    "L1": Row({"penalty": nr.L1(LAMBDA)}, before=penalised(lambda w: LAMBDA * w.abs().sum())),
    "ProxL1": Row(
        {"penalty": nr.Prox(nr.L1(LAMBDA))},
        after=lambda w: w.copy_(torch.nn.functional.softshrink(w, LR * LAMBDA)),
    ),
    "NonNegative": Row({"penalty": nr.NonNegative()}, after=lambda w: w.clamp_(min=0)),
    "GroupLassoRows": Row(
        {"penalty": nr.GroupLasso(LAMBDA)}, before=penalised(lasso(1)), rules=BOTH
    ),
    "ProxGroupLassoRows": Row({"penalty": nr.Prox(nr.GroupLasso(LAMBDA))}, after=shrink_groups(1)),
    "ProxGroupLassoRowsAdam": Row({"penalty": nr.Prox(nr.GroupLasso(LAMBDA))}, rules=("adam",)),
    "GroupLassoColumns": Row(
        {"penalty": nr.GroupLasso(LAMBDA, groups="columns")},
        more=1,
        before=penalised(lasso(0)),
        rules=BOTH,
    ),
    "ProxGroupLassoColumns": Row(
        {"penalty": nr.Prox(nr.GroupLasso(LAMBDA, groups="columns"))},
        more=2,
        after=shrink_groups(0),
    ),
    "ProxGroupLassoColumnsAdam": Row(
        {"penalty": nr.Prox(nr.GroupLasso(LAMBDA, groups="columns"))},
        more=8,
        rules=("adam",),
    ),
    "MaxNormRows": Row(
        {"penalty": nr.MaxNorm(30.0)},
        after=lambda w: w.copy_(torch.renorm(w, 2, 0, 30.0)),
        rules=BOTH,
    ),
    "MaxNormColumns": Row(
        {"penalty": nr.MaxNorm(30.0, groups="columns")},
        more=2,
        after=lambda w: w.copy_(torch.renorm(w, 2, 1, 30.0)),
    ),
    "ClipNorm": Row(
        {"clip_norm": 1.0},
        more=1,
        before=lambda w: torch.nn.utils.clip_grad_norm_([w], 1.0),
    ),
    "ClipValue": Row(
        {"clip_value": 0.5},
        more=1,
        before=lambda w: torch.nn.utils.clip_grad_value_([w], 0.5),
    ),
    "ClipRatio": Row({"clip_ratio": 0.01}, more=1, before=adaptive_clip),
    "SoftOrthogonality": Row(
        {"penalty": nr.SoftOrthogonality(LAMBDA)},
        SQUARE,
        None,
        before=penalised(far_from_orthogonal),
    ),
    "ProxNuclearNorm": Row(
        {"penalty": nr.Prox(nr.NuclearNorm(LAMBDA))}, SQUARE, None, after=shrink_singular_values
    ),
    "SpectralNorm": Row(
        {"penalty": nr.SpectralNorm(LAMBDA)},
        SQUARE,
        None,
        same=False,
        module=lambda m: torch.nn.utils.parametrizations.spectral_norm(m),
    ),
}


def has_torch(row: Row) -> bool:
    """Whether there is a way to do it with PyTorch, and PyTorch."""
    ways = row.before or row.after or row.module or row.decay
    return bool(ways) and find_spec("torch") is not None


CASES = [
    pytest.param(row, rule, way, id=f"{name}-{rule}-{way}")
    for name, row in ROWS.items()
    for rule in row.rules
    for way in ("core", "torch")
    if way == "core" or has_torch(row)
]


def with_torch(
    row: Row, rule: str, weight: np.ndarray[Any, Any], gradient: np.ndarray[Any, Any]
) -> tuple[Any, Callable[[], None]]:
    """Return the tensor of weights, and a step of it; gradients come from elsewhere."""
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[rule]
    g = torch.from_numpy(gradient)
    if row.module is not None:
        linear = torch.nn.Linear(*weight.shape, bias=False)
        linear.weight.data.copy_(torch.from_numpy(weight))
        module = row.module(linear)
        optimiser = make(module.parameters(), lr=LR, fused=True)

        def held() -> None:
            optimiser.zero_grad(set_to_none=False)
            module.weight.backward(g)
            optimiser.step()

        return module.weight, held
    w = torch.nn.Parameter(torch.from_numpy(weight.copy()))
    w.grad = g.clone()
    optimiser = make([w], lr=LR, weight_decay=row.decay, fused=True)

    def step() -> None:
        if row.before:
            row.before(w)
        optimiser.step()
        if row.after:
            with torch.no_grad():
                row.after(w)

    return w, step


@pytest.mark.parametrize(("row", "rule", "way"), CASES)
def test_penalty(row: Row, rule: str, way: str, timed: Callable[..., None]) -> None:
    rng = np.random.default_rng(0)
    weight, gradient = (rng.standard_normal(row.shape, np.float32) for _ in range(2))
    if row.more is None:
        weight *= np.float32(row.shape[1] ** -0.5)  # a recurrent matrix, which stays one
        gradient *= np.float32(1e-6)
    if find_spec("torch"):
        torch.set_num_threads(nr.get_num_threads())
    params, grads = {"weight": weight.copy()}, {"weight": gradient}
    rules = RULES[rule]
    state = nr.init_state(rules, params)

    def core() -> None:
        nr.update(params, grads, state, rule=rules, check_finite=False, **row.options)

    core()
    run = core
    if way == "torch":
        tensor, run = with_torch(row, rule, weight, gradient)
        run()
        if row.same:
            assert_close(params["weight"], tensor.detach().numpy())
    slots = 2 * len(rules.slots)
    streams = None if row.more is None else 3 + slots + row.more
    timed(run, bytes_=4 * weight.size * streams if streams and way == "core" else 0)
