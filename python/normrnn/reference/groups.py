"""Norms of groups of weights that may lie in several arrays, and what penalties of them do."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from normrnn.penalties.group_sets import GroupSets, GroupUse
from normrnn.penalties.groups import GroupPenalty, as_matrix, held, prox_of_norms, roots
from normrnn.reference.cells.base import Array


class Groups:
    """The groups of an update; every array argument is a list with one array for each piece."""

    def __init__(self, sets: GroupSets, shapes: Sequence[tuple[int, ...]]) -> None:
        self.strengths = sets.strengths
        self.uses = sets.uses
        self.ids = [
            None if use is None else _ids(use, shape)
            for use, shape in zip(sets.uses, shapes, strict=True)
        ]

    def value(self, weights: Sequence[Array]) -> float:
        """Sum of r(||w_g||) over all groups."""
        norms = self._norms(weights)
        total, seen = 0.0, set()
        for use, ids in zip(self.uses, self.ids, strict=True):
            if use is None or ids is None:
                continue
            own = [i for i in np.unique(ids).tolist() if i not in seen]
            seen.update(own)
            total += use.penalty.value_of(norms[own], self.strengths[own])
        return total

    def gradients(self, weights: Sequence[Array]) -> list[Array | float]:
        """r'(||w_g||) w / ||w_g|| of each piece; 0 where groups act by their prox."""
        norms = self._norms(weights)
        gradients: list[Array | float] = []
        for use, ids, w in zip(self.uses, self.ids, weights, strict=True):
            if use is None or ids is None or use.prox:
                gradients.append(0.0)
            else:
                pull = held(use.penalty.pull_of, w.dtype, norms, self.strengths)
                gradients.append((pull[ids] * as_matrix(w)).reshape(w.shape))
        return gradients

    def prox(self, weights: Sequence[Array], steps: Sequence[Array | float]) -> list[Array]:
        """Each group times its factor. `steps`: one step size for all, or one for each weight."""
        norms = self._norms(weights)
        result = []
        for use, ids, w, step in zip(self.uses, self.ids, weights, steps, strict=True):
            if use is None or ids is None or not use.prox:
                result.append(w)
            elif np.ndim(step) and not use.penalty.constraint:
                result.append(
                    self._prox_in_metric(use.penalty, weights, steps, ids).reshape(w.shape)
                )
            else:
                one = float(np.ravel(step)[0]) if np.size(step) else 0.0
                factor = held(use.penalty.factor_of, w.dtype, norms, self.strengths, one)
                result.append((factor[ids] * as_matrix(w)).reshape(w.shape))
        return result

    def _prox_in_metric(
        self, penalty: GroupPenalty, weights: Sequence[Array], steps: Sequence[Any], own: Array
    ) -> Array:
        """Solve group by group, each as one row of all its weights."""
        moved = np.zeros(own.shape)
        for group in np.unique(own):
            parts, sizes = [], []
            for ids, w, step in zip(self.ids, weights, steps, strict=True):
                if ids is not None and np.any(ids == group):
                    inside = np.broadcast_to(ids, as_matrix(w).shape) == group
                    parts.append(as_matrix(w)[inside])
                    sizes.append(np.broadcast_to(as_matrix(np.asarray(step)), inside.shape)[inside])
            w, h = np.concatenate(parts)[None, :], np.concatenate(sizes)[None, :]
            strength = np.full((1, 1), self.strengths[group])
            root = prox_of_norms(w.astype(float), h.astype(float), strength, "rows")
            # The piece's own weights stand where they stood among all of the group's.
            moved[own == group] = _own(root.ravel(), self.ids, own, group)
        return moved

    def _norms(self, weights: Sequence[Array]) -> Array:
        def squares(factor: float) -> Array:
            sums = np.zeros(len(self.strengths))
            for ids, w in zip(self.ids, weights, strict=True):
                if ids is not None:
                    np.add.at(sums, ids, (factor * as_matrix(w).astype(np.float64)) ** 2)
            return sums

        return roots(squares)


def _own(root: Array, all_ids: Sequence[Array | None], own: Array, group: int) -> Array:
    start = 0
    for ids in all_ids:
        if ids is None:
            continue
        count = int(np.sum(ids == group))
        if ids is own:
            return root[start : start + count]
        start += count
    raise AssertionError("the piece is one of the pieces")


def _ids(use: GroupUse, shape: tuple[int, ...]) -> Array:
    """Return the number of each weight's group, [rows, columns]."""
    rows, columns = as_matrix(np.empty(shape)).shape
    along = {
        "rows": np.arange(rows)[:, None],
        "columns": np.arange(columns)[None, :],
        "matrix": np.zeros((1, 1), int),
    }[use.groups]
    return use.first + np.broadcast_to(along, (rows, columns))
