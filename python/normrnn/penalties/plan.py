"""What an update tells the core about its penalties, kept from one update to the next.

Which term applies where follows from the penalty and from the parameters' names, shapes and dtypes
alone, so that a training loop finds out once. Strengths that are functions of the step are looked
at anew each time.
"""

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from normrnn.penalties.base import ElementwisePenalty, Penalty, Prox, strength_names
from normrnn.penalties.group_sets import GroupUse, group_sets, piece_of, split_gates
from normrnn.penalties.groups import GroupPenalty
from normrnn.penalties.resolve import Params, Piece, Some, inner_of, is_prox, resolve

_MOST_KEPT = 8


class Plan(NamedTuple):
    """The pieces of all parameters and what the core is told about each.

    Attributes
    ----------
    pieces : list of Piece
        Together all rows of all parameters.
    elements : list of tuple or None
        For each piece the penalty of each weight: name, scalars, centre, weights, whether a prox.
    groups : list of tuple or None
        And of groups: name, axis, first group, whether a prox.
    strengths : list of float
        Of all groups.
    of_matrices : bool
        Whether there are penalties of whole matrices.
    key : Hashable
        Of the penalties and the parameters. Of all here, only strengths and scalars may differ
        between plans of one key.
    penalties : list
        What the key's ids stand for: an id says which one it is only while it lives.
    """

    pieces: list[Piece]
    elements: list[tuple[Any, ...] | None]
    groups: list[tuple[str, str, int, bool] | None]
    strengths: list[float]
    of_matrices: bool
    key: Hashable
    penalties: list[Any]


_kept: OrderedDict[Hashable, Plan] = OrderedDict()


def plan_of(penalty: Some | Mapping[str, Some], params: Params, step: int) -> Plan:
    """Say what applies to each piece of the parameters at an update; see `resolve`.

    Raises
    ------
    TypeError, ValueError
        As `resolve` and `group_sets` do.
    """
    # Penalties are frozen; a mapping or a list around them is not, so each of them is in the key.
    flat = _flat(penalty)
    key = (
        isinstance(penalty, Mapping),
        tuple([part if isinstance(part, str) else id(part) for part in flat]),
        tuple([(name, w.shape, w.dtype) for name, w in params.items()]),
    )
    found = _kept.get(key)
    if found is not None:
        return found
    plan = _make(resolve(penalty, params, step), params, key, flat)
    if not any(_is_scheduled(part) for part in flat):
        _kept[key] = plan
        while len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
    return plan


def _flat(penalty: Some | Mapping[str, Some]) -> list[Any]:
    if isinstance(penalty, Mapping):
        return [part for item in penalty.items() for part in (item[0], *_flat(item[1]), "/")]
    if isinstance(penalty, Sequence) and not isinstance(penalty, str):
        return list(penalty)
    return [penalty]


def _is_scheduled(part: object) -> bool:
    penalty = part.penalty if isinstance(part, Prox) else part
    if not isinstance(penalty, Penalty):
        return False
    return any(callable(getattr(penalty, name)) for name in strength_names(type(penalty)))


def _make(pieces: list[Piece], params: Params, key: Hashable, penalties: list[Any]) -> Plan:
    scopes = {inner_of(term).scope for piece in pieces for term in piece.terms}
    uses: Sequence[GroupUse | None] = [None] * len(pieces)
    strengths: list[float] = []
    if "group" in scopes:
        pieces = split_gates(pieces, params)
        sets = group_sets(pieces, params)
        uses, strengths = sets.uses, sets.strengths.tolist()
    elements = [
        _element_of(piece, params, use is not None) for piece, use in zip(pieces, uses, strict=True)
    ]
    groups = [
        None if use is None else (use.penalty.kernel, use.groups, use.first, use.prox)
        for use in uses
    ]
    return Plan(pieces, elements, groups, strengths, "matrix" in scopes, key, penalties)


def _element_of(piece: Piece, params: Params, in_groups: bool) -> tuple[Any, ...] | None:
    for term in piece.terms:
        penalty = inner_of(term)
        if isinstance(penalty, GroupPenalty):
            inner = penalty.elementwise() if in_groups else None
            if inner is None:
                continue
            penalty = inner
        if isinstance(penalty, ElementwisePenalty):
            w = params[piece.name]
            arrays = (penalty.center_for(piece.name, w), penalty.weights_for(piece.name, w))
            center, weights = (None if a is None else piece_of(a, piece) for a in arrays)
            return (penalty.kernel, penalty.scalars(), center, weights, is_prox(term))
    return None
