"""What an update penalises, and with which weights each has a norm in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties import GroupPenalty, Penalty, resolve
from normrnn.penalties.arrays import on_rows
from normrnn.penalties.base import strength_names
from normrnn.penalties.group_sets import GroupUse, group_sets, piece_of, split_gates
from normrnn.penalties.groups import as_matrix
from normrnn.penalties.resolve import Piece, Some, as_list, inner_of, is_prox

Array = NDArray[Any]
Penalties: TypeAlias = Some | Mapping[str, Some]


@dataclass(frozen=True)
class Term:
    """One penalty of one parameter, or of some of its rows.

    Attributes
    ----------
    piece : Piece
        Which rows of which parameter, from which pattern, and what else applies to them.
    penalty : Penalty
        With numbers for strengths, and the arrays of these rows.
    prox : bool
        Whether it acts after the rule's step.
    use : GroupUse or None
        The numbers of its groups, for a penalty of groups.
    """

    piece: Piece
    penalty: Penalty
    prox: bool
    use: GroupUse | None

    @property
    def pattern(self) -> str:
        """The pattern that it comes from; ``"*"`` for a penalty that is not in a mapping."""
        return self.piece.source or "*"

    def of(self, arrays: Mapping[str, Array]) -> Array:
        """Return its rows of an array with the parameters' names, in float64."""
        return piece_of(arrays[self.piece.name], self.piece).astype(np.float64)

    def groups_of(self, w: Array) -> NDArray[np.intp]:
        """Return the number of each weight's group, in w's shape."""
        assert self.use is not None
        rows, columns = as_matrix(w).shape
        within = {
            "rows": np.arange(rows)[:, None],
            "columns": np.arange(columns)[None, :],
            "matrix": np.zeros((1, 1), np.intp),
        }[self.use.groups]
        numbers: NDArray[np.intp] = np.broadcast_to(self.use.first + within, (rows, columns))
        return numbers.reshape(w.shape)


@dataclass(frozen=True)
class Terms:
    """All of an update's.

    Attributes
    ----------
    all : list of Term
        In the parameters' order.
    group_weights : ndarray, [groups]
        Its sqrt(p_g), or a weight of its own.
    """

    all: list[Term]
    group_weights: NDArray[np.float64]

    def count_of(self, piece: Piece) -> int:
        """Return how many penalties apply to a piece."""
        return sum(term.piece is piece for term in self.all)

    def sum_over_groups(self, values: Sequence[tuple[Term, Array]]) -> NDArray[np.float64]:
        """Sum arrays, one for each of some terms, over each group."""
        sums = np.zeros(len(self.group_weights))
        for term, array in values:
            groups = term.groups_of(array).ravel()
            sums += np.bincount(groups, array.ravel(), minlength=len(sums))
        return sums


def terms_of(penalty: Penalties, params: Mapping[str, Array], step: int = 1) -> Terms:
    """Find all terms; raises as ``update`` does."""
    pieces = split_gates(resolve(penalty, params, step), params)
    sets = group_sets(pieces, params)
    found = []
    for piece, use in zip(pieces, sets.uses, strict=True):
        for one in piece.terms:
            inner = on_rows(inner_of(one), piece.name, params[piece.name], piece.rows)
            of_groups = isinstance(inner, GroupPenalty)
            if of_groups and use is None:
                continue  # outgoing weights, and this array has none
            found.append(Term(piece, inner, is_prox(one), use if of_groups else None))
    return Terms(found, sets.weights)


def refuse_twins(penalty: Penalties) -> None:
    """Refuse two penalties of one class in a list: their strengths would have one name."""
    if isinstance(penalty, Mapping):
        lists = {f"penalty[{pattern!r}]": some for pattern, some in penalty.items()}
    else:
        lists = {"penalty": penalty}
    for argument, some in lists.items():
        classes = [type(inner_of(one)) for one in as_list(some)]
        for cls in classes:
            if classes.count(cls) > 1:
                raise ValueError(
                    f"{argument}: expected at most one {cls.__name__} to choose λ for, got "
                    f"{classes.count(cls)}; make them one, or give each a pattern of its own"
                )


def with_strengths(penalty: Penalty, **strengths: float) -> Penalty:
    """Return the penalty with these strengths, and all others zero."""
    names = strength_names(type(penalty))
    changed: Penalty = replace(penalty, **(dict.fromkeys(names, 0.0) | strengths))  # type: ignore[type-var]
    return changed
