"""What an update tells the core about its penalties, kept from one update to the next.

Which term applies where follows from the penalty and from the parameters' names, shapes and dtypes
alone, so that a training loop finds out once. Strengths that are functions of the step are called
at each update, and their numbers put where the plan has them.
"""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from normrnn import _core
from normrnn.penalties.base import ElementwisePenalty, Penalty
from normrnn.penalties.group_sets import GroupSets, group_sets, piece_of, split_gates
from normrnn.penalties.groups import GroupPenalty
from normrnn.penalties.matrix import MatrixPenalty
from normrnn.penalties.resolve import (
    Params,
    Piece,
    Some,
    as_list,
    inner_of,
    is_prox,
    resolve,
    with_inner,
)

_MOST_KEPT = 8


class Scheduled(NamedTuple):
    """A penalty with functions of the step, and where a plan has what follows from their numbers.

    Attributes
    ----------
    given : Penalty
        With the functions.
    elements : list of int
        Pieces for whose elements it is.
    groups : list of (str, slice)
        Which of its strengths are for groups, and for which.
    terms : list of (int, int)
        As a penalty of whole matrices: the piece, and which of its terms.
    """

    given: Penalty
    elements: list[int]
    groups: list[tuple[str, slice]]
    terms: list[tuple[int, int]]


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
    strengths : ndarray, [groups]
        Of all groups.
    group_weights : ndarray, [groups]
        What strengths are multiples of.
    of_matrices : bool
        Whether there are penalties of whole matrices.
    scheduled : list of Scheduled
        What is not the same at another step.
    key : Hashable
        Of the penalties and the parameters. Of all here, only numbers for functions may differ
        between plans of one key: in strengths, in scalars, and in penalties of whole matrices.
    penalties : list
        What the key's ids stand for: an id says which one it is only while it lives.
    """

    pieces: list[Piece]
    elements: list[tuple[Any, ...] | None]
    groups: list[tuple[str, str, int, bool] | None]
    strengths: NDArray[np.float64]
    group_weights: NDArray[np.float64]
    of_matrices: bool
    scheduled: list[Scheduled]
    key: Hashable
    penalties: list[Any]


_kept: OrderedDict[Hashable, Plan] = OrderedDict()


def plan_of(
    penalty: Some | Mapping[str, Some],
    params: dict[str, NDArray[Any]],
    step: int,
    layout: bytes | None = None,
) -> Plan:
    """Say what applies to each piece of the parameters at an update; see `resolve`.

    `layout` is that of the parameters, for those who have it.

    Raises
    ------
    TypeError, ValueError
        As `resolve` and `group_sets` do.
    """
    # Penalties are frozen; a mapping or a list around them is not, so each of them is in the key.
    # A list with None in it is refused and None itself is not, so that they must not look the same.
    ids: Hashable
    lists: list[Any]
    if not hasattr(penalty, "__len__"):  # one by itself; see as_list
        lists, ids = [penalty], id(penalty)
    elif isinstance(penalty, Mapping):
        lists = [[] if some is None else as_list(some) for some in penalty.values()]
        ids = tuple((name, *map(id, some)) for name, some in zip(penalty, lists, strict=True))
    else:
        lists = as_list(penalty)
        ids = ("in a list", *map(id, lists))
    key = ids, layout or _core.layout_of(params)
    found = _kept.get(key)
    if found is not None:
        return _at(found, step) if found.scheduled else found
    plan = _make(penalty, params, step, key, lists)
    _kept[key] = plan
    while len(_kept) > _MOST_KEPT:
        _kept.popitem(last=False)
    return plan


def _at(plan: Plan, step: int) -> Plan:
    """Return the plan with the numbers of an update. It is not changed: other threads use it."""
    pieces, elements, strengths = plan.pieces, plan.elements.copy(), plan.strengths
    for given, in_elements, in_groups, in_terms in plan.scheduled:
        numbers = given.strengths_at(step)
        if in_elements:
            scalars = _scalars_of(given, numbers)
            for i in in_elements:
                kernel, _, center, weights, prox = elements[i]  # type: ignore[misc]
                elements[i] = (kernel, scalars, center, weights, prox)
        if in_groups and strengths is plan.strengths:
            strengths = strengths.copy()
        for name, span in in_groups:
            strengths[span] = numbers[name] * plan.group_weights[span]
        if in_terms and pieces is plan.pieces:
            pieces = pieces.copy()
        for i, j in in_terms:
            terms = list(pieces[i].terms)
            terms[j] = with_inner(terms[j], inner_of(terms[j]).with_strengths(numbers))
            pieces[i] = pieces[i]._replace(terms=tuple(terms))
    return Plan(  # not `_replace`, which takes 1 us more
        pieces,
        elements,
        plan.groups,
        strengths,
        plan.group_weights,
        plan.of_matrices,
        plan.scheduled,
        plan.key,
        plan.penalties,
    )


def _make(
    penalty: Some | Mapping[str, Some],
    params: Params,
    step: int,
    key: Hashable,
    lists: list[Any],
) -> Plan:
    pieces = resolve(penalty, params, step)
    scopes = {inner_of(term).scope for piece in pieces for term in piece.terms}
    sets = GroupSets([None] * len(pieces), [], np.zeros(0), np.zeros(0))
    if "group" in scopes:
        pieces = split_gates(pieces, params)
        sets = group_sets(pieces, params)
    elements = [
        _element_of(piece, params, use is not None)
        for piece, use in zip(pieces, sets.uses, strict=True)
    ]
    groups = [
        None if use is None else (use.penalty.kernel, use.groups, use.first, use.prox)
        for use in sets.uses
    ]
    return Plan(
        pieces,
        elements,
        groups,
        sets.strengths,
        sets.weights,
        "matrix" in scopes,
        _scheduled(penalty, pieces, sets),
        key,
        lists,
    )


def _scheduled(
    penalty: Some | Mapping[str, Some], pieces: list[Piece], sets: GroupSets
) -> list[Scheduled]:
    """Find penalties with functions, each time that one is given, and where their numbers go."""
    found: dict[tuple[str, int], Scheduled] = {}  # by pattern and place in its list, as in pieces
    for source, some in penalty.items() if isinstance(penalty, Mapping) else [("", penalty)]:
        for j, term in enumerate(as_list(some)):
            if term is not None and inner_of(term).is_scheduled:
                found[source, j] = Scheduled(inner_of(term), [], [], [])
    for i, piece in enumerate(pieces):
        for j, term in enumerate(piece.terms):
            if (piece.source, j) not in found:
                continue
            given, elements, _, terms = found[piece.source, j]
            if isinstance(given, MatrixPenalty):
                terms.append((i, j))
            elif _part_of_weights(inner_of(term), sets.uses[i] is not None) is not None:
                elements.append(i)
    for i, span in sets.spans:
        piece = pieces[i]
        for j in range(len(piece.terms)):
            one = found.get((piece.source, j))
            if one is None or not isinstance(one.given, GroupPenalty):
                continue
            name, groups = one.given.group_strength, one.groups
            if groups and groups[-1][1].stop == span.start:
                span = slice(groups.pop()[1].start, span.stop)
            if name is not None:
                groups.append((name, span))
    return list(found.values())


def _scalars_of(given: Penalty, numbers: dict[str, float]) -> tuple[float, ...]:
    """Return what a kernel gets for numbers: see `ElementwisePenalty.scalars`."""
    if isinstance(given, GroupPenalty):
        part = given.with_strengths(numbers).elementwise()
        assert part is not None  # as when the plan was made
        return part.scalars()
    return tuple(numbers.values())


def _element_of(piece: Piece, params: Params, in_groups: bool) -> tuple[Any, ...] | None:
    for term in piece.terms:
        penalty = _part_of_weights(inner_of(term), in_groups)
        if penalty is not None:
            w = params[piece.name]
            arrays = (penalty.center_for(piece.name, w), penalty.weights_for(piece.name, w))
            center, weights = (None if a is None else piece_of(a, piece) for a in arrays)
            return (penalty.kernel, penalty.scalars(), center, weights, is_prox(term))
    return None


def _part_of_weights(penalty: Penalty, in_groups: bool) -> ElementwisePenalty | None:
    """Return what the penalty is of each weight; of groups, if the piece takes part in them."""
    if isinstance(penalty, GroupPenalty):
        return penalty.elementwise() if in_groups else None
    return penalty if isinstance(penalty, ElementwisePenalty) else None
