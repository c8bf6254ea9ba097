"""How the prox of group lasso depends on its λ, where groups may lie in several arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties import SparseGroupLasso
from normrnn.penalties.base import number
from normrnn.selection.terms import Term, Terms

Array = NDArray[Any]
Moved = tuple[Term, str, Array]  # term, strength, derivative


def group_prox_derivatives(
    terms: Terms, steps: Sequence[tuple[Term, Array, float | Array]]
) -> list[Moved]:
    """∂u/∂λ for each strength, with u = prox(w) and step sizes a.

    A group's u = w ρ/(ρ + λca), c its weight, where ρ = ‖u‖ solves Σ w²/(ρ + λca)² = 1. With
    q = (u/ρ)²/(ρ + λca) this gives dρ/dλ = −c Σ qa / Σ q, and
    du/dλ = (u/ρ) (λ dρ/dλ − ρ) ca/(ρ + λca), which for one a is −ac u/ρ.

    Parameters
    ----------
    terms : Terms
        All of the update's.
    steps : sequence of (Term, ndarray, float or ndarray)
        Each term's u, in float64, and a.

    Returns
    -------
    list of (Term, str, ndarray)
        Term, name of the strength, and derivative, of u's shape.
    """
    norms = np.sqrt(terms.sum_over_groups([(term, u**2) for term, u, _ in steps]))
    sizes = terms.sum_over_groups([(term, np.abs(u)) for term, u, _ in steps])
    parts = [_Part(term, u, a, norms, terms.group_weights) for term, u, a in steps]
    q = terms.sum_over_groups([(part.term, part.q) for part in parts])
    qa = terms.sum_over_groups([(part.term, part.q * part.a) for part in parts])
    slopes = -terms.group_weights * np.divide(qa, q, where=q > 0, out=np.zeros_like(q))
    moved: list[Moved] = []
    for part in parts:
        ca = part.weight * part.a
        change = (part.strength * slopes[part.groups] - part.norm) * ca / part.root
        moved.append((part.term, part.field, part.direction * change))
        if isinstance(part.term.penalty, SparseGroupLasso):
            moved.append((part.term, "l1", part.soft(sizes)))
    return moved


class _Part:
    """One array's share in its groups; all arrays have its shape, and 1 stands for ρ = 0."""

    def __init__(
        self, term: Term, u: Array, a: float | Array, norms: Array, weights: Array
    ) -> None:
        self.term = term
        self.groups = term.groups_of(u)
        self.norm, self.weight = norms[self.groups], weights[self.groups]
        self.a = np.broadcast_to(a, u.shape)
        self.field = "group" if isinstance(term.penalty, SparseGroupLasso) else "strength"
        self.strength = number(term.penalty, self.field)
        self.direction = np.divide(u, self.norm, where=self.norm > 0, out=np.zeros_like(u))
        self.root = self.norm + self.strength * self.weight * self.a
        self.root = np.where(self.norm > 0, self.root, 1.0)
        self.q = self.direction**2 / self.root

    def soft(self, sizes: Array) -> Array:
        """∂u/∂l1: the soft threshold moves s by −a sign(s), and the groups' prox follows.

        u = s ρ/n with n = ‖s‖ = ρ + λca, so du = ρ/n ds + λca/n (u/ρ)(u/ρ · ds), for one a.
        """
        along = np.divide(
            sizes[self.groups], self.norm, where=self.norm > 0, out=np.zeros_like(self.norm)
        )
        pull = self.strength * self.weight * self.a
        signs = np.sign(self.direction)
        moved: Array = -self.a * (self.norm * signs + pull * self.direction * along) / self.root
        return moved
