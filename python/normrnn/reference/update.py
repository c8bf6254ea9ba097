"""The penalised update of all parameters: clip, penalty, rule, proximal step."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from normrnn._numbers import positive
from normrnn.penalties import Penalty, Prox, resolve
from normrnn.reference.cells.base import Array
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
    penalty: Penalty | Prox | Mapping[str, Penalty | Prox | None] | None = None,
    clip_norm: float | None = None,
) -> UpdateInfo:
    """Update all parameters in place.

    For each w, with s = min(1, clip_norm / norm of all gradients together):

        g = s dL/dw + dR/dw               no dR/dw with a Prox, or with a decoupled rule
        w' = w - delta(g)                 by the rule; decoupled: w' -= lr dR/dw
        w <- prox(w', step)               with a Prox

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
    penalty : Penalty, Prox, mapping or None
        One penalty for all weights but the biases, or a mapping from pattern to penalty (see
        `normrnn.penalties.resolve`).
    clip_norm : float, optional
        Upper bound > 0 of the gradients' norm; the penalty's gradient is not clipped.

    Returns
    -------
    UpdateInfo
        R before the step, norms, and s.

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
    penalties = resolve(penalty, params)
    for name, one in penalties.items():
        if one is not None:
            (one.penalty if isinstance(one, Prox) else one).center_for(name, params[name])

    grad_norm = _norm(grads.values())
    clip_scale = 1.0
    if clip_norm is not None:
        bound = positive("clip_norm", clip_norm)
        clip_scale = bound / grad_norm if grad_norm > bound else 1.0

    state["step"] += 1
    before = {name: w.copy() for name, w in params.items()}
    penalty_value = 0.0
    for name, w in params.items():
        slots = {slot: state[slot][name] for slot in rule.slots}
        w[...], value = _step(
            w, clip_scale * grads[name], slots, rule, penalties[name], state["step"]
        )
        penalty_value += value
    return UpdateInfo(
        penalty=penalty_value,
        grad_norm=grad_norm,
        update_norm=_norm(w - before[name] for name, w in params.items()),
        param_norm=_norm(params.values()),
        clip_scale=clip_scale,
    )


def _step(
    w: Array,
    g: Array,
    slots: dict[str, Array],
    rule: Rule,
    penalty: Penalty | Prox | None,
    t: int,
) -> tuple[Array, float]:
    """One parameter: its new value, and R at the old one."""
    if penalty is None:
        return w - rule.step(w, g, slots, t)[0], 0.0
    if isinstance(penalty, Prox):
        delta, prox_step = rule.step(w, g, slots, t)
        return penalty.penalty.prox(w - delta, prox_step), penalty.penalty.value(w)
    if rule.decoupled:
        delta, prox_step = rule.step(w, g, slots, t)
        return w - delta - prox_step * penalty.gradient(w), penalty.value(w)
    return w - rule.step(w, g + penalty.gradient(w), slots, t)[0], penalty.value(w)


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
