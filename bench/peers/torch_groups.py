"""Groups of weights in PyTorch: their norms, and the proxes and constraints made of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.linalg import vector_norm

Tensor = torch.Tensor
Tensors = list[Tensor]

GATES = 4  # of a recurrent matrix with four times as many rows as columns
ROUNDS = 5  # of Newton's method: float32 has no more digits


@dataclass(frozen=True)
class Groups:
    """A way to cut parameters into groups of equal size.

    Attributes
    ----------
    size : callable
        Weights in a group.
    norms : callable
        Norm of each group, [groups].
    spread : callable
        Numbers [groups] as they broadcast to each of the parameters.
    """

    size: Callable[[Tensors], int]
    norms: Callable[[Tensors], Tensor]
    spread: Callable[[Tensor, Tensors], Tensors]

    def strength(self, strength: float, ws: Tensors) -> float:
        """Return that of each group, λ √p."""
        return strength * math.sqrt(self.size(ws))

    def lasso(self, strength: float, ws: Tensors) -> Tensor:
        """Return the penalty's value."""
        return self.strength(strength, ws) * self.norms(ws).sum()

    def shrink(self, strength: float, ws: Tensors, sizes: list[Any]) -> None:
        """Take the proximal step of the lasso, of one size or of one for each weight."""
        pull = self.strength(strength, ws)
        if torch.is_tensor(sizes[0]):
            self._shrink_each(ws, [pull * h for h in sizes])
            return
        left = (1 - sizes[0] * pull / self.norms(ws)).clamp_(min=0)
        for w, factor in zip(ws, self.spread(left, ws), strict=True):
            w.mul_(factor)

    def _shrink_each(self, ws: Tensors, pulls: Tensors) -> None:
        """Shrink to w n / (n + p), with the norm n of the result from Σ (w / (n + p))² = 1.

        By Newton's method on 1/√Σ, nearly linear in n; a group with Σ ≤ 1 at n = 0 becomes zero.
        """
        n = torch.zeros_like(self.norms(ws))
        kept = None
        for _ in range(ROUNDS):
            below = [p + one for p, one in zip(pulls, self.spread(n, ws), strict=True)]
            ratios = [w / b for w, b in zip(ws, below, strict=True)]
            total = self.norms(ratios)
            kept = total > 1 if kept is None else kept
            curved = self.norms([r / b.sqrt() for r, b in zip(ratios, below, strict=True)])
            n = n + (total - 1) * (total / curved).square()
        n = torch.where(kept, n, 0)
        for w, p, one in zip(ws, pulls, self.spread(n, ws), strict=True):
            w.mul_(one / (one + p))


GROUPS = {
    "rows": Groups(
        lambda ws: ws[0].shape[1],
        lambda ws: vector_norm(ws[0], dim=1),
        lambda v, _: [v[:, None]],
    ),
    "columns": Groups(
        lambda ws: len(ws[0]),
        lambda ws: vector_norm(ws[0], dim=0),
        lambda v, _: [v],
    ),
    "gates": Groups(
        lambda ws: ws[0].numel() // GATES,
        lambda ws: vector_norm(ws[0].unflatten(0, (GATES, -1)), dim=(1, 2)),
        lambda v, ws: [v.repeat_interleave(len(ws[0]) // GATES)[:, None]],
    ),
    "outgoing": Groups(
        lambda ws: sum(len(w) for w in ws),
        lambda ws: vector_norm(torch.stack([vector_norm(w, dim=0) for w in ws]), dim=0),
        lambda v, ws: [v] * len(ws),
    ),
}
