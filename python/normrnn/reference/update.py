"""The penalised update of all parameters: clip, penalty, rule, proximal step."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from normrnn._numbers import positive
from normrnn.penalties import GroupPenalty, MatrixPenalty, resolve
from normrnn.penalties.arrays import on_rows
from normrnn.penalties.group_sets import group_sets, piece_of, split_gates
from normrnn.penalties.groups import as_matrix, norms_of
from normrnn.penalties.resolve import Some, inner_of, is_prox
from normrnn.reference.cells.base import Array
from normrnn.reference.groups import Groups
from normrnn.results import UpdateInfo
from normrnn.rules import Rule


def init_state(rule: Rule, params: Mapping[str, Array]) -> dict[str, Any]:
    """Return what a rule remembers before its first step.

    Parameters
    ----------
    rule : Rule
        The rule that `update` will use.
    params : mapping of str to ndarray
        The parameters that it will update.

    Returns
    -------
    dict
        "step", 0, and for each slot of the rule a dict from parameter name to an array of zeros.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn import reference
    >>> from normrnn.rules import Momentum
    >>> reference.init_state(Momentum(lr=0.1), {"w": np.ones(2)})
    {'step': 0, 'velocity': {'w': array([0., 0.])}}
    """
    zeros = {slot: {name: np.zeros_like(w) for name, w in params.items()} for slot in rule.slots}
    return {"step": 0, **zeros}


def update(
    params: Mapping[str, Array],
    grads: Mapping[str, Array],
    state: dict[str, Any] | None = None,
    *,
    rule: Rule,
    penalty: Some | Mapping[str, Some] = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    clip_ratio: float | None = None,
) -> UpdateInfo:
    """Update all parameters in place.

    For each w, with g = dL/dw after clipping:

        g += dR/dw                        no dR/dw with a Prox, or with a decoupled rule
        w' = w - delta(g)                 by the rule; decoupled: w' -= lr dR/dw
        w <- prox(w', step)               with a Prox or a constraint

    Parameters
    ----------
    params : mapping of str to ndarray
        The weights; changed in place.
    grads : mapping of str to ndarray
        dL/dw for each of them.
    state : dict, optional
        From `init_state`; changed in place. Rules without slots work without it.
    rule : Rule
        How a gradient becomes a step.
    penalty : Penalty, Prox, sequence, mapping or None
        For all weights but the biases, or a mapping from pattern to penalty (see
        `normrnn.penalties.resolve`).
    clip_norm, clip_value, clip_ratio : float, optional
        Upper bound > 0 of the gradients' norm, of each gradient, or of a row's norm in parts of its
        weights' norm; at most one of them, which is not checked here. The penalty's gradient is not
        clipped.

    Returns
    -------
    UpdateInfo
        R before the step, norms, and the scale of clip_norm.

    Raises
    ------
    FloatingPointError
        If a gradient is NaN or infinite.
    TypeError, ValueError
        If names or shapes do not agree, or the rule needs a state and there is none. Whatever is
        raised, nothing has changed.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn import reference
    >>> from normrnn.penalties import L2
    >>> from normrnn.rules import SGD
    >>> params = {"weight_hh_l0": np.array([[2.0]])}
    >>> info = reference.update(params, {"weight_hh_l0": np.array([[1.0]])}, rule=SGD(lr=0.1),
    ...                         penalty=L2(0.5))
    >>> params["weight_hh_l0"].item(), info.penalty
    (1.7, 2.0)
    """
    _check(params, grads)
    if state is None:
        if rule.slots:
            raise TypeError(f"state: expected init_state(rule, params) for {rule}, got None")
        state = init_state(rule, params)
    t = state["step"] + 1
    pieces = split_gates(resolve(penalty, params, t), params)
    terms = [
        [
            (on_rows(inner_of(term), p.name, params[p.name], p.rows), is_prox(term))
            for term in p.terms
        ]
        for p in pieces
    ]
    sets = group_sets(pieces, params)

    grad_norm, clip_scale = _norm(grads.values()), 1.0
    if clip_norm is not None:
        bound = positive("clip_norm", clip_norm)
        clip_scale = bound / grad_norm if grad_norm > bound else 1.0
    clipped = {
        name: _clip(clip_scale * g, params[name], clip_value, clip_ratio)
        for name, g in grads.items()
    }

    old = {name: w.copy() for name, w in params.items()}
    before = [piece_of(old[piece.name], piece) for piece in pieces]
    groups = Groups(sets, [w.shape for w in before])
    value = groups.value(before)
    after, steps = [], []
    for i, (piece, pull) in enumerate(zip(pieces, groups.gradients(before), strict=True)):
        w, g = before[i], piece_of(clipped[piece.name], piece)
        proxes = []
        for one, prox in terms[i]:
            if isinstance(one, GroupPenalty):
                inner = one.elementwise() if sets.uses[i] else None
                if inner is None:
                    continue
                one = inner  # the rest is the groups' business
            value += one.value(w)
            if not prox:
                pull = pull + one.gradient(w)
            elif not isinstance(one, MatrixPenalty):
                proxes.append(one)
        slots = {slot: piece_of(state[slot][piece.name], piece) for slot in rule.slots}
        delta, step = rule.step(w, g if rule.decoupled else g + pull, slots, t)
        u = w - delta - (step * pull if rule.decoupled else 0.0)
        for one in proxes:
            u = one.prox(u, step)
        after.append(u)
        steps.append(step)
    after = groups.prox(after, steps)
    for i, piece in enumerate(pieces):
        for one, prox in terms[i]:
            if prox and isinstance(one, MatrixPenalty) and np.all(np.isfinite(after[i])):
                after[i] = one.prox(after[i], steps[i])
        piece_of(params[piece.name], piece)[...] = after[i]

    state["step"] = t
    return UpdateInfo(
        penalty=value,
        grad_norm=grad_norm,
        update_norm=_norm(w - old[name] for name, w in params.items()),
        param_norm=_norm(params.values()),
        clip_scale=clip_scale,
        clipped_norm=_norm(clipped.values()),
    )


def _clip(g: Array, w: Array, value: float | None, ratio: float | None) -> Array:
    """Hold each gradient, or the gradient of each unit, a row."""
    if value is not None:
        bound = positive("clip_value", value)
        held: Array = np.clip(g, -bound, bound)
        return held
    if ratio is None:
        return g
    rows, weights = as_matrix(g), as_matrix(w)
    norms = norms_of(rows, "rows")[:, None]
    most = positive("clip_ratio", ratio) * np.maximum(norms_of(weights, "rows"), 1e-3)[:, None]
    scale = np.where(norms > most, most / np.where(norms > 0, norms, 1), 1)
    scaled: Array = (scale * rows).reshape(g.shape)
    return scaled


def _check(params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
    if grads.keys() != params.keys():
        raise ValueError(f"grads: expected names {sorted(params)}, got {sorted(grads)}")
    for name, w in params.items():
        if grads[name].shape != w.shape:
            raise ValueError(f"grads[{name!r}]: expected shape {w.shape}, got {grads[name].shape}")
    for name, g in grads.items():
        wrong = np.argwhere(~np.isfinite(g))
        if len(wrong):
            at = tuple(wrong[0].tolist())
            raise FloatingPointError(
                f"grads[{name!r}]: expected finite values, got {g[at]} at index {at}"
            )


def _norm(arrays: Iterable[Array]) -> float:
    """L2 norm of all the arrays together, in float64, without overflow of the squares."""
    values = np.concatenate([np.ravel(a).astype(np.float64) for a in arrays] or [np.zeros(0)])
    largest = float(np.max(np.abs(values), initial=0.0))
    return largest * math.sqrt(float(np.sum((values / largest) ** 2))) if largest else 0.0
