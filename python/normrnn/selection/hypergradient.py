"""One-step hypergradients: how the held-out loss after an update depends on the update's λs.

An update makes w⁺ out of w, the loss's gradients and the penalty, so ∂w⁺/∂λ is known in closed
form for each λ, and dL_val/dλ = ⟨∇L_val(w⁺), ∂w⁺/∂λ⟩. It costs one gradient more, that of the
held-out loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from normrnn._numbers import non_negative, positive
from normrnn.optimize import update
from normrnn.penalties import L1, L2, ElasticNet, GroupLasso, Penalty, Prox, SparseGroupLasso
from normrnn.penalties.base import number, strength_names
from normrnn.penalties.resolve import inner_of
from normrnn.rules import SGD, Adam, Momentum, Rule
from normrnn.selection.group_prox import group_prox_derivatives
from normrnn.selection.terms import Penalties, Term, Terms, terms_of, with_strengths

Array = NDArray[Any]
Strength: TypeAlias = tuple[str, str]  # pattern, and penalty and field: "L1.strength"
Slots: TypeAlias = dict[str, Array]


def sensitivity(
    params: Mapping[str, Array],
    grads: Mapping[str, Array],
    state: Mapping[str, Any] | None = None,
    *,
    rule: Rule,
    penalty: Penalties,
    **options: Any,
) -> dict[Strength, dict[str, Array]]:
    """Differentiate the coming update with respect to each λ: ∂w⁺/∂λ, before `update` takes place.

    For a penalty R = λr that acts through its gradient::

        SGD, AdamW           ∂w⁺/∂λ = −α ∂r/∂w                 L2: −2αw      L1: −α sign w
        Momentum             the same; Nesterov: times 1 + μ
        Adam                 −α ∂(m̂/(√v̂ + ε))/∂g · ∂r/∂w       m and v both depend on λ

    For a `Prox` with step a, which is α, or α/(√v̂ + ε) per coordinate under Adam::

        L1                   −a sign w⁺
        L2                   −2a(w⁺ − center)/(1 + 2aλ)
        ElasticNet           l1: −a sign w⁺/(1 + 2a l2)        l2: −2a w⁺/(1 + 2a l2)
        GroupLasso           −a √p_g w⁺_g/‖w⁺_g‖, which is 0 for a group at zero
        SparseGroupLasso     group: the same; l1: the soft threshold's, through the group's prox

    The update is taken on copies, to know w⁺. It costs an update and, for each λ, an array of the
    size of what it applies to.

    Parameters
    ----------
    params, grads, state, rule, penalty, **options
        What `update` is going to be called with; none of it is changed.

    Returns
    -------
    dict from (pattern, strength) to dict of str to ndarray
        For each λ, such as ``("weight_hh_*", "L1.strength")``, ∂w⁺/∂λ of the parameters that it
        applies to, in float64; 0 in rows that it does not apply to. The pattern of a penalty that
        is not in a mapping is ``"*"``.

    Raises
    ------
    TypeError, ValueError
        As `update`, or if a rule, a constraint or the prox of a penalty has no known derivative, or
        a `Prox` shares its weights with another penalty.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params, grads = {"weight": np.array([3.0, -1.0])}, {"weight": np.array([0.5, 0.5])}
    >>> moved = nr.selection.sensitivity(params, grads, rule=nr.SGD(0.1), penalty=nr.L2(0.2))
    >>> moved["*", "L2.strength"]["weight"].round(6).tolist()
    [-0.6, 0.2]
    """
    after = {name: np.array(w, order="C") for name, w in params.items()}
    later = None if state is None else _copy(state)
    update(after, grads, later, rule=rule, penalty=penalty, **options)
    step = 1 if state is None else state["step"] + 1
    terms = terms_of(penalty, params, step)

    rows = {id(term): (term.of(params), term.of(after)) for term in terms.all}
    grouped: list[tuple[Term, Array, float | Array]] = []
    found: list[tuple[Term, str, Array]] = []
    norms = np.sqrt(terms.sum_over_groups([(t, rows[id(t)][0] ** 2) for t in terms.all if t.use]))
    for term in terms.all:
        before = {slot: term.of(state[slot]) for slot in rule.slots} if state else {}
        slots = {slot: term.of(later[slot]) for slot in rule.slots} if later else {}
        w, u = rows[id(term)]
        if not term.prox:
            factor = -step_derivative(rule, before, slots, step)
            found += [(term, name, factor * r) for name, r in _gradients(term, terms, w, norms)]
            continue
        _refuse(term, terms)
        size = prox_step(rule, slots, step)
        if term.use:
            grouped.append((term, u, size))
        else:
            curvature = _smooth_part(term.penalty).gradient(np.ones_like(u))
            found += [
                (term, name, -size * slope / (1 + size * curvature))
                for name, slope in _gradients(term, terms, u, norms)
            ]
    if grouped:
        found += group_prox_derivatives(terms, grouped)

    moved: dict[Strength, dict[str, Array]] = {}
    for term, name, derivative in found:
        strength = (term.pattern, f"{type(term.penalty).__name__}.{name}")
        of = moved.setdefault(strength, {})
        parameter = term.piece.name
        if parameter not in of:
            of[parameter] = np.zeros(params[parameter].shape)
        of[parameter][term.piece.rows or slice(None)] += derivative
    return moved


def hypergradient(
    moved: Mapping[Strength, Mapping[str, Array]], validation_grads: Mapping[str, Array]
) -> dict[Strength, float]:
    """Return dL_val/dλ = ⟨∇L_val(w⁺), ∂w⁺/∂λ⟩ for each λ of the update just done.

    For SGD and L2 that is −2α⟨∇L_val(w⁺), w⟩: λ should grow where the held-out loss falls towards
    zero weights. It looks one update ahead and no further, so it is noisy and short-sighted: use
    small steps on λ (`log_step`), averaged by taking many.

    Parameters
    ----------
    moved : dict
        From `sensitivity`, before the update.
    validation_grads : mapping of str to ndarray
        ∇L_val at the parameters after the update, without any penalty.

    Returns
    -------
    dict from (pattern, strength) to float
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
    >>> round(slopes["*", "L2.strength"], 6)  # −2 · 0.1 · ((2.83 − 1) · 3 + (−1.01 − 1) · (−1))
    -1.5
    """
    slopes = {}
    for strength, of in moved.items():
        slopes[strength] = 0.0
        for name, derivative in of.items():
            if name not in validation_grads:
                raise ValueError(f"validation_grads: expected {name!r}, got none")
            g = validation_grads[name]
            if g.shape != derivative.shape:
                raise ValueError(
                    f"validation_grads[{name!r}]: expected shape {derivative.shape}, got {g.shape}"
                )
            slopes[strength] += float(np.sum(derivative * g))
    return slopes


def log_step(
    penalty: Penalties, slopes: Mapping[Strength, float], rate: float, *, limit: float = 0.1
) -> Any:
    """Take a gradient step on every log λ: λ ← λ exp(−rate · λ · dL_val/dλ).

    Parameters
    ----------
    penalty : Penalty, Prox, sequence or mapping
        As for the update; not changed. A λ of zero stays zero.
    slopes : dict
        From `hypergradient`, or an average of several.
    rate : float
        Step size >= 0.
    limit : float
        No log λ changes by more than this, > 0.

    Returns
    -------
    Penalty, Prox, list or dict
        The same with the new strengths.

    Raises
    ------
    ValueError
        If a slope has no λ or is not finite, a λ is a function, or a number is out of range.

    Examples
    --------
    >>> import normrnn as nr
    >>> slopes = {("weight_*", "L1.strength"): -0.01}
    >>> stepped = nr.selection.log_step({"weight_*": nr.L1(2.0)}, slopes, rate=1.0)
    >>> round(stepped["weight_*"].strength, 6)  # 2 exp(1.0 · 2 · 0.01)
    2.040403
    """
    rate, limit = non_negative("rate", rate), positive("limit", limit)
    left = dict(slopes)

    def stepped(pattern: str, one: Penalty | Prox) -> Penalty | Prox:
        inner = inner_of(one)
        changes = {}
        for name in strength_names(type(inner)):
            key = (pattern, f"{type(inner).__name__}.{name}")
            if key not in left:
                continue
            slope = left.pop(key)
            if not math.isfinite(slope):
                raise ValueError(f"slopes[{key}]: expected a finite number, got {slope}")
            value = number(inner, name)
            change = min(limit, max(-limit, -rate * value * slope))
            changes[name] = value * math.exp(change)
        changed: Penalty = replace(inner, **changes) if changes else inner  # type: ignore[type-var]
        return Prox(changed) if isinstance(one, Prox) else changed

    def every(pattern: str, some: Any) -> Any:
        if some is None:
            return None
        if isinstance(some, Sequence):
            return [stepped(pattern, one) for one in some]
        return stepped(pattern, some)

    if isinstance(penalty, Mapping):
        result: Any = {pattern: every(pattern, some) for pattern, some in penalty.items()}
    else:
        result = every("*", penalty)
    if left:
        raise ValueError(f"slopes: expected strengths of the penalty, got {sorted(left)}")
    return result


@singledispatch
def step_derivative(rule: Rule, before: Slots, after: Slots, t: int) -> float | Array:
    """∂Δ/∂(∂R/∂w), per coordinate, of a step w ← w − Δ; slots before and after it."""
    raise TypeError(f"rule: expected SGD, Momentum, Adam or AdamW, got {type(rule).__name__}")


@step_derivative.register
def _(rule: SGD, before: Slots, after: Slots, t: int) -> float | Array:
    return rule.lr


@step_derivative.register
def _(rule: Momentum, before: Slots, after: Slots, t: int) -> float | Array:
    return rule.lr * (1 + rule.momentum) if rule.nesterov else rule.lr


@step_derivative.register
def _(rule: Adam, before: Slots, after: Slots, t: int) -> float | Array:
    if rule.decoupled:
        return rule.lr
    m_scale, v_scale = 1 / (1 - rule.beta1**t), 1 / (1 - rule.beta2**t)
    # The gradient that m has taken in: clipped, and with the penalty's.
    g = (after["exp_avg"] - rule.beta1 * before["exp_avg"]) / (1 - rule.beta1)
    m_hat, root = m_scale * after["exp_avg"], np.sqrt(v_scale * after["exp_avg_sq"])
    # ∂√v̂/∂g; where v̂ is 0, so is g, and √v̂ has a kink whose two slopes have the mean 0.
    d_root = np.divide(v_scale * (1 - rule.beta2) * g, root, where=root > 0, out=np.zeros_like(g))
    d_m_hat = m_scale * (1 - rule.beta1)
    root = root + rule.eps
    derivative: Array = rule.lr * (d_m_hat - m_hat * d_root / root) / root
    return derivative


def prox_step(rule: Rule, after: Slots, t: int) -> float | Array:
    """Return the step size of a prox, for all weights or for each; slots after the step."""
    if isinstance(rule, Adam) and not rule.decoupled:
        step: Array = rule.lr / (np.sqrt(after["exp_avg_sq"] / (1 - rule.beta2**t)) + rule.eps)
        return step
    return rule.lr


def _gradients(term: Term, terms: Terms, w: Array, norms: Array) -> Iterator[tuple[str, Array]]:
    """Each λ's name and ∂(dR/dw)/∂λ: every R is linear in its λs, so it is dR/dw at λ = 1."""
    penalty = term.penalty
    for name in strength_names(type(penalty)):
        if isinstance(penalty, SparseGroupLasso) and name == "l1":
            yield name, np.sign(w)
        elif term.use:
            groups = term.groups_of(w)
            norm = norms[groups]
            pull = np.divide(terms.group_weights[groups], norm, where=norm > 0, out=0 * norm)
            yield name, pull * w
        else:
            yield name, with_strengths(penalty, **{name: 1.0}).gradient(w)


def _smooth_part(penalty: Penalty) -> Penalty:
    """Return the L2 in a penalty of each weight, towards 0; its gradient at 1 is the curvature."""
    if isinstance(penalty, L2):
        return replace(penalty, center=None)
    l2 = {"l2": number(penalty, "l2")} if isinstance(penalty, ElasticNet) else {}
    return with_strengths(penalty, **l2)


def _refuse(term: Term, terms: Terms) -> None:
    """Refuse a proximal step without a known derivative."""
    known = isinstance(term.penalty, L1 | L2 | ElasticNet | GroupLasso | SparseGroupLasso)
    if not known:
        raise TypeError(
            f"penalty: expected for {term.piece.name} a Prox whose derivative is known, of L1, L2, "
            f"ElasticNet, GroupLasso or SparseGroupLasso, got {type(term.penalty).__name__}"
        )
    if sum(one.piece is term.piece for one in terms.all) > 1:
        raise ValueError(
            f"penalty: expected no other penalty of {term.piece.name} beside its Prox, got one"
        )


def _copy(state: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a rule's state, to be changed."""
    return {
        key: _copy(value)
        if isinstance(value, Mapping)
        else value.copy()
        if isinstance(value, np.ndarray)
        else value
        for key, value in state.items()
    }
