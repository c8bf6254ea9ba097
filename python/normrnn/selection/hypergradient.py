"""One-step hypergradients: how the held-out loss after an update depends on the update's λs.

An update makes w⁺ out of w, the loss's gradients and the penalty, so ∂w⁺/∂λ is known in closed
form for each λ, and dL_val/dλ = ⟨∇L_val(w⁺), ∂w⁺/∂λ⟩. It costs one gradient more, that of the
held-out loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import singledispatch
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from normrnn._numbers import non_negative, positive
from normrnn.penalties import L1, L2, ElasticNet, Penalty, Prox, resolve
from normrnn.rules import SGD, Adam, Momentum, Rule

Array = NDArray[Any]
Penalties: TypeAlias = Penalty | Prox | Mapping[str, Penalty | Prox | None]
Strength: TypeAlias = tuple[str, str]  # pattern, field


def sensitivity(
    params: Mapping[str, Array],
    grads: Mapping[str, Array],
    state: Mapping[str, Any] | None = None,
    *,
    rule: Rule,
    penalty: Penalties,
    clip_norm: float | None = None,
) -> dict[Strength, dict[str, Array]]:
    """Differentiate the coming update with respect to each λ: ∂w⁺/∂λ, before `update` takes place.

    For a penalty R = λr that acts through its gradient::

        SGD, AdamW           ∂w⁺/∂λ = −α ∂r/∂w                 L2: −2αw      L1: −α sign w
        Momentum             the same; Nesterov: times 1 + μ
        Adam                 −α ∂(m̂/(√v̂ + ε))/∂g · ∂r/∂w       m and v both depend on λ

    For a `Prox` with step a, which is α, or α/(√v̂ + ε) per coordinate under Adam, and only where
    w⁺ is not zero::

        L1                   −a sign w⁺
        L2                   −2a(w⁺ − center)/(1 + 2aλ)
        ElasticNet           l1: −a sign w⁺/(1 + 2a l2)        l2: −2a w⁺/(1 + 2a l2)

    Parameters
    ----------
    params, grads, state, rule, penalty, clip_norm
        What `update` is going to be called with; none of it is changed. Strengths must be numbers.

    Returns
    -------
    dict from (pattern, field) to dict of str to ndarray
        For each λ, such as ``("weight_hh_*", "strength")``, ∂w⁺/∂λ of the parameters that it
        applies to, in float64. The pattern of a penalty that is not in a mapping is ``"*"``.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or a rule or the prox of a penalty has no known derivative.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params, grads = {"weight": np.array([3.0, -1.0])}, {"weight": np.array([0.5, 0.5])}
    >>> moved = nr.selection.sensitivity(params, grads, rule=nr.SGD(0.1), penalty=nr.L2(0.2))
    >>> moved["*", "strength"]["weight"].round(6).tolist()
    [-0.6, 0.2]
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"rule: expected a rule such as SGD(0.1), got {type(rule).__name__}")
    if grads.keys() != params.keys():
        odd = sorted(params.keys() ^ grads.keys())
        raise ValueError(f"grads: expected the names of params, got a difference in {odd}")
    if rule.slots and state is None:
        raise TypeError(
            f"state: expected the dict of init_state for {type(rule).__name__}, got None"
        )
    step = 1 if state is None else state["step"] + 1
    scale = 1.0
    if clip_norm is not None:
        bound = positive("clip_norm", clip_norm)
        norm = math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in grads.values()))
        scale = bound / norm if norm > bound else 1.0

    moved: dict[Strength, dict[str, Array]] = {}
    for pattern, name, one in _terms(penalty, params):
        w, g = params[name].astype(np.float64), scale * grads[name].astype(np.float64)
        slots = {slot: state[slot][name].astype(np.float64) for slot in rule.slots} if state else {}
        inner = one.penalty if isinstance(one, Prox) else one
        if isinstance(one, Prox):
            delta, prox_step = rule.step(w, g, slots, step)
            after = inner.prox(w - delta, prox_step)
            for field in _strengths(inner):
                derivative = prox_derivative(inner, after, prox_step, field)
                moved.setdefault((pattern, field), {})[name] = derivative
            continue
        if rule.decoupled:
            factor: float | Array = rule.step(w, g, slots, step)[1]
        else:
            factor = step_derivative(rule, g + inner.gradient(w), slots, step)
        for field, slope in _gradients(inner, w):
            moved.setdefault((pattern, field), {})[name] = -factor * slope
    return moved


def hypergradient(
    sensitivity: Mapping[Strength, Mapping[str, Array]], validation_grads: Mapping[str, Array]
) -> dict[Strength, float]:
    """Return dL_val/dλ = ⟨∇L_val(w⁺), ∂w⁺/∂λ⟩ for each λ of the update just done.

    For SGD and L2 that is −2α⟨∇L_val(w⁺), w⟩: λ should grow where the held-out loss falls towards
    zero weights. It looks one update ahead and no further, so it is noisy and short-sighted: use
    small steps on λ (`log_step`), averaged by taking many.

    Parameters
    ----------
    sensitivity : dict
        From the function `sensitivity`, before the update.
    validation_grads : mapping of str to ndarray
        ∇L_val at the parameters after the update, without any penalty.

    Returns
    -------
    dict from (pattern, field) to float
        The derivative with respect to each λ.

    Raises
    ------
    ValueError
        If a gradient is missing or has another shape.

    References
    ----------
    Luketina, Berglund, Greff & Raiko, Scalable gradient-based tuning of continuous regularization
    hyperparameters, arXiv:1511.06727. That it is short-sighted: Wu, Ren, Liao & Grosse,
    arXiv:1803.02021.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params, grads = {"weight": np.array([3.0, -1.0])}, {"weight": np.array([0.5, 0.5])}
    >>> rule, penalty = nr.SGD(0.1), nr.L2(0.2)
    >>> moved = nr.selection.sensitivity(params, grads, rule=rule, penalty=penalty)
    >>> info = nr.update(params, grads, rule=rule, penalty=penalty)
    >>> validation_grads = {"weight": params["weight"] - 1}  # of ‖w − 1‖²/2
    >>> slopes = nr.selection.hypergradient(moved, validation_grads)
    >>> round(slopes["*", "strength"], 6)  # −2 · 0.1 · ((2.83 − 1) · 3 + (−1.01 − 1) · (−1))
    -1.5
    """
    slopes = {}
    for strength, of in sensitivity.items():
        slopes[strength] = 0.0
        for name, moved in of.items():
            if name not in validation_grads:
                raise ValueError(f"validation_grads: expected {name!r}, got none")
            g = validation_grads[name]
            if g.shape != moved.shape:
                raise ValueError(
                    f"validation_grads[{name!r}]: expected shape {moved.shape}, got {g.shape}"
                )
            slopes[strength] += float(np.sum(moved * g))
    return slopes


def log_step(
    penalty: Penalties, slopes: Mapping[Strength, float], rate: float, *, limit: float = 0.1
) -> Penalties:
    """Take a gradient step on every log λ: λ ← λ exp(−rate · λ · dL_val/dλ).

    Parameters
    ----------
    penalty : Penalty, Prox or mapping
        As for the update; not changed. A λ of zero stays zero.
    slopes : dict
        From `hypergradient`, or an average of several.
    rate : float
        Step size >= 0.
    limit : float
        No log λ changes by more than this, > 0.

    Returns
    -------
    Penalty, Prox or mapping
        The same with the new strengths.

    Raises
    ------
    ValueError
        If a slope has no λ or is not finite, or a number is out of range.

    Examples
    --------
    >>> import normrnn as nr
    >>> nr.selection.log_step({"weight_*": nr.L1(2.0)}, {("weight_*", "strength"): -0.01}, rate=1.0)
    {'weight_*': L1(strength=2.0404026800535116)}
    """
    rate, limit = non_negative("rate", rate), positive("limit", limit)
    mapping = penalty if isinstance(penalty, Mapping) else {"*": penalty}
    changed = dict(mapping)
    for (pattern, field), slope in slopes.items():
        one = changed.get(pattern)
        inner = one.penalty if isinstance(one, Prox) else one
        if inner is None or field not in _strengths(inner):
            raise ValueError(f"slopes: expected a strength of the penalty, got {(pattern, field)}")
        if not math.isfinite(slope):
            raise ValueError(
                f"slopes[{pattern!r}, {field!r}]: expected a finite number, got {slope}"
            )
        value = getattr(inner, field)
        change = min(limit, max(-limit, -rate * value * slope))
        inner = replace(inner, **{field: value * math.exp(change)})  # type: ignore[type-var]
        changed[pattern] = Prox(inner) if isinstance(one, Prox) else inner
    return changed if isinstance(penalty, Mapping) else changed["*"]  # type: ignore[return-value]


@singledispatch
def step_derivative(rule: Rule, g: Array, slots: dict[str, Array], t: int) -> float | Array:
    """∂Δ/∂g, per coordinate, of a rule's step w ← w − Δ(g) from the slots before it."""
    raise TypeError(f"rule: expected SGD, Momentum, Adam or AdamW, got {type(rule).__name__}")


@step_derivative.register
def _(rule: SGD, g: Array, slots: dict[str, Array], t: int) -> float | Array:
    return rule.lr


@step_derivative.register
def _(rule: Momentum, g: Array, slots: dict[str, Array], t: int) -> float | Array:
    return rule.lr * (1 + rule.momentum) if rule.nesterov else rule.lr


@step_derivative.register
def _(rule: Adam, g: Array, slots: dict[str, Array], t: int) -> float | Array:
    m_scale, v_scale = 1 / (1 - rule.beta1**t), 1 / (1 - rule.beta2**t)
    m_hat = m_scale * (rule.beta1 * slots["exp_avg"] + (1 - rule.beta1) * g)
    v_hat = v_scale * (rule.beta2 * slots["exp_avg_sq"] + (1 - rule.beta2) * g**2)
    root = np.sqrt(v_hat)
    # ∂√v̂/∂g; where v̂ is 0, so is g, and √v̂ has a kink whose two slopes have the mean 0.
    d_root = np.divide(v_scale * (1 - rule.beta2) * g, root, where=root > 0, out=np.zeros_like(g))
    d_m_hat = m_scale * (1 - rule.beta1)
    derivative: Array = rule.lr * (d_m_hat - m_hat * d_root / (root + rule.eps)) / (root + rule.eps)
    return derivative


@singledispatch
def prox_derivative(penalty: Penalty, after: Array, step: float | Array, field: str) -> Array:
    """∂prox(u)/∂λ for one of the penalty's λs, given after = prox(u); step as in `Penalty.prox`."""
    raise TypeError(
        "penalty: expected a Prox of L1, L2 or ElasticNet, whose derivative is known, got "
        f"{type(penalty).__name__}"
    )


@prox_derivative.register
def _(penalty: L1, after: Array, step: float | Array, field: str) -> Array:
    derivative: Array = -step * np.sign(after)
    return derivative


@prox_derivative.register
def _(penalty: L2, after: Array, step: float | Array, field: str) -> Array:
    center = 0.0 if penalty.center is None else penalty.center
    derivative: Array = -2 * step * (after - center) / (1 + 2 * step * penalty.strength)
    return derivative


@prox_derivative.register
def _(penalty: ElasticNet, after: Array, step: float | Array, field: str) -> Array:
    direction = np.sign(after) if field == "l1" else 2 * after
    derivative: Array = -step * direction / (1 + 2 * step * penalty.l2)
    return derivative


def _terms(
    penalty: Penalties, params: Mapping[str, Array]
) -> Iterator[tuple[str, str, Penalty | Prox]]:
    """Pattern, parameter and penalty as it applies to it, for all that are penalised."""
    resolved = resolve(penalty, params)
    if not isinstance(penalty, Mapping):
        yield from (("*", name, one) for name, one in resolved.items() if one is not None)
        return
    left = dict(resolved)
    for pattern in penalty:
        # Who matches a pattern is for `resolve` to say; the first pattern takes the parameter.
        for name, matched in resolve({pattern: L1(0.0)}, params).items():
            if matched is not None and name in left:
                bound = left.pop(name)
                if bound is not None:
                    yield pattern, name, bound


def _strengths(penalty: Penalty) -> list[str]:
    """Names of the fields that are λs."""
    return [
        field.name
        for field in fields(penalty)  # type: ignore[arg-type]
        if isinstance(getattr(penalty, field.name), float)
    ]


def _gradients(penalty: Penalty, w: Array) -> Iterator[tuple[str, Array]]:
    """Each λ's name and ∂(dR/dw)/∂λ: every R is linear in its λs, so it is dR/dw at λ = 1."""
    names = _strengths(penalty)
    for name in names:
        only = {other: float(other == name) for other in names}
        yield name, replace(penalty, **only).gradient(w)  # type: ignore[type-var]
