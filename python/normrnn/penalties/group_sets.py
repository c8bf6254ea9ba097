"""Where groups of weights lie in a network: which rows and columns of which arrays belong together.

Every group of an update has a number. A piece of a parameter takes a stretch of them, one for each
of its rows or columns; pieces that share a unit's outgoing weights take the same ones.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn._heads import HEADS
from normrnn.penalties.arrays import bind, one_array
from normrnn.penalties.groups import GroupPenalty, as_matrix
from normrnn.penalties.resolve import (
    One,
    Params,
    Piece,
    gates_of,
    inner_of,
    is_prox,
    with_inner,
)

_RECURRENT = re.compile(r"weight_hh_l(\d+)(_reverse)?")


@dataclass(frozen=True)
class GroupUse:
    """How a piece takes part in groups.

    Attributes
    ----------
    penalty : GroupPenalty
        What applies to the groups.
    prox : bool
        Whether it acts after the rule's step.
    groups : str
        "rows", "columns" or "matrix" of the piece.
    first : int
        Number of its first group.
    """

    penalty: GroupPenalty
    prox: bool
    groups: str
    first: int


@dataclass(frozen=True)
class GroupSets:
    """All groups of an update.

    Attributes
    ----------
    uses : list of GroupUse or None
        For each piece.
    spans : list of (int, slice)
        All groups in their order, by the penalty that they are of: a piece with it, its groups.
    weights : ndarray, [groups]
        Each group's weight.
    strengths : ndarray, [groups]
        Each group's strength or bound, its weight included.
    """

    uses: list[GroupUse | None]
    spans: list[tuple[int, slice]]
    weights: NDArray[np.float64]
    strengths: NDArray[np.float64]


def split_gates(pieces: Sequence[Piece], params: Params) -> list[Piece]:
    """Make pieces of the gates where a penalty takes each gate as a group.

    What has no gates is one block: a head, a tanh network's matrix, a gain of c.

    Raises
    ------
    ValueError
        If there are weights, and not one for each gate, or a penalty of whole matrices beside.
    """
    result = []
    for piece in pieces:
        if not any(_groups(term) == "gates" for term in piece.terms):
            result.append(piece)
            continue
        gates = gates_of(piece.name, params)
        if not gates:
            terms = tuple(_as_block(term, piece.name) for term in piece.terms)
            result.append(piece._replace(terms=terms))
            continue
        start, stop, _ = (piece.rows or slice(None)).indices(len(params[piece.name]))
        height = len(params[piece.name]) // len(gates)
        for one in map(inner_of, piece.terms):
            if one.scope == "matrix" and stop - start > height:
                raise ValueError(
                    f"penalty: expected no penalty of whole matrices for {piece.name} beside "
                    f"groups of gates, which divide it, got {type(one).__name__}"
                )
        for row in range(start, stop, height):
            gate = row // height
            terms = tuple(_as_block(term, piece.name, gate, len(gates)) for term in piece.terms)
            result.append(Piece(piece.name, slice(row, row + height), terms, piece.source))
    return result


def group_sets(pieces: Sequence[Piece], params: Params) -> GroupSets:
    """Give all groups of an update their numbers and strengths.

    Raises
    ------
    ValueError
        If a pattern for outgoing weights leaves some of a unit's out, a head is missing or of
        another shape, or weights of groups do not fit.
    """
    uses: list[GroupUse | None] = [None] * len(pieces)
    weights: list[NDArray[np.float64]] = [np.zeros(0)]
    strengths: list[NDArray[np.float64]] = [np.zeros(0)]
    spans: list[tuple[int, slice]] = []

    def add(piece: int, name: str, penalty: GroupPenalty, sizes: NDArray[Any]) -> int:
        _check_weights(penalty, name, len(sizes))
        first: int = spans[-1][1].stop if spans else 0
        spans.append((piece, slice(first, first + len(sizes))))
        weights.append(penalty.weights_of(sizes))
        strengths.append(penalty.strengths(weights[-1]))
        return first

    outgoing: dict[str, list[int]] = {}
    for i, piece in enumerate(pieces):
        for term in piece.terms:
            penalty = inner_of(term)
            if not isinstance(penalty, GroupPenalty):
                continue
            if penalty.groups == "outgoing":
                outgoing.setdefault(piece.source, []).append(i)
                continue
            rows, columns = as_matrix(piece_of(params[piece.name], piece)).shape
            sizes = {"rows": [columns] * rows, "columns": [rows] * columns}
            of_each = np.array(sizes.get(penalty.groups, [rows * columns]), float)
            first = add(i, piece.name, penalty, of_each)
            uses[i] = GroupUse(penalty, is_prox(term), penalty.groups, first)
    for source, members in outgoing.items():
        _outgoing(pieces, members, source, params, add, uses)
    return GroupSets(uses, spans, np.concatenate(weights), np.concatenate(strengths))


def piece_of(array: NDArray[Any], piece: Piece) -> NDArray[Any]:
    """Return the piece's rows of its parameter, or of an array of the same shape; a view."""
    return array if piece.rows is None else array[piece.rows]


def consumers(params: Params, heads: Sequence[str] = HEADS) -> list[list[str]]:
    """For each layer the arrays that have a column for each of its units.

    A layer's own ``weight_hh`` come first, one for each direction, with the columns of that
    direction's units; the others have columns for both directions' units, side by side: the next
    layer's ``weight_ih``, or the heads, which need not be there.

    Examples
    --------
    >>> import normrnn as nr
    >>> from normrnn.penalties.group_sets import consumers
    >>> consumers(nr.init_params("gru", 2, 4, num_layers=2, output_size=1))
    [['weight_hh_l0', 'weight_ih_l1'], ['weight_hh_l1', 'weight_hy']]
    """
    layers: list[list[str]] = []
    while f"weight_hh_l{len(layers)}" in params:
        layer = len(layers)
        own = [f"weight_hh_l{layer}", f"weight_hh_l{layer}_reverse"]
        above = [f"weight_ih_l{layer + 1}", f"weight_ih_l{layer + 1}_reverse"]
        own, above = ([name for name in names if name in params] for names in (own, above))
        layers.append(own + (above or list(heads)))
    return layers


def _outgoing(
    pieces: Sequence[Piece],
    members: list[int],
    source: str,
    params: Params,
    add: Any,
    uses: list[GroupUse | None],
) -> None:
    by_name = {pieces[i].name: i for i in members}
    whole = len(by_name) == len(members) and all(pieces[i].rows is None for i in members)
    if not whole:
        raise ValueError(
            f"penalty: expected whole arrays for groups='outgoing', got gates by {source!r}"
        )
    penalty, prox = next(
        (p, is_prox(t))
        for t in pieces[members[0]].terms
        if isinstance(p := inner_of(t), GroupPenalty)
    )
    found = False
    for names in consumers(params, penalty.heads):
        missing = [name for name in names if name not in by_name]
        if len(missing) == len(names):
            continue
        absent = [name for name in missing if name not in params]
        if absent:
            raise ValueError(
                f"heads: expected names of parameters for groups='outgoing', got {absent[0]!r}"
            )
        if missing:
            raise ValueError(
                f"penalty: expected a pattern for groups='outgoing' that matches all of {names}, "
                f"got {source!r} without {missing}"
            )
        found = True
        recurrent = [name for name in names if _RECURRENT.fullmatch(name)]
        readers = [name for name in names if name not in recurrent]
        hidden = [params[name].shape[-1] for name in recurrent]
        for name in readers:
            shape = params[name].shape
            if len(shape) != 2 or shape[1] != sum(hidden):
                raise ValueError(f"{name}: expected shape (O, {sum(hidden)}), got {shape}")
        above = sum(params[name].shape[0] for name in readers)
        own = [
            np.full(h, _outgoing_rows(params[n])) for n, h in zip(recurrent, hidden, strict=True)
        ]
        bound = bind(penalty, names[0], "weights")
        first = add(members[0], names[0], bound, np.concatenate(own) + float(above))
        for name in names:
            offset = sum(hidden[: recurrent.index(name)]) if name in recurrent else 0
            uses[by_name[name]] = GroupUse(bound, prox, "columns", first + offset)
    if not found:
        raise ValueError(
            f"penalty: expected a pattern for groups='outgoing' that matches a 'weight_hh_*', "
            f"got {source!r}"
        )


def _outgoing_rows(recurrent: NDArray[Any]) -> float:
    return float(recurrent.shape[0] if recurrent.ndim == 2 else 1)


def _groups(term: One) -> str | None:
    penalty = inner_of(term)
    return penalty.groups if isinstance(penalty, GroupPenalty) else None


def _as_block(term: One, name: str, gate: int = 0, gates: int = 1) -> One:
    """Return the term for one of a parameter's gates, with its weight, as a penalty of a matrix."""
    penalty = inner_of(term)
    if not isinstance(penalty, GroupPenalty):
        return term
    weights = _check_weights(penalty, name, gates)
    own = None if weights is None else weights[gate : gate + 1]
    block = replace(penalty, groups="matrix", weights=own)  # type: ignore[type-var]
    return with_inner(term, block)


def _check_weights(penalty: GroupPenalty, name: str, count: int) -> NDArray[Any] | None:
    weights = one_array("weights", penalty.weights)
    if weights is not None and weights.shape != (count,):
        kind = "gates" if penalty.groups == "gates" and count > 1 else "groups"
        raise ValueError(
            f"weights[{name}]: expected one for each of {count} {kind}, shape ({count},), "
            f"got {weights.shape}"
        )
    return weights
