"""One-step hypergradients: how the held-out loss after an update depends on the update's λs.

An update makes w⁺ out of w, the loss's gradients and the penalty, so ∂w⁺/∂λ is known in closed
form for each λ, and dL_val/dλ = ⟨∇L_val(w⁺), ∂w⁺/∂λ⟩. It costs one gradient more, that of the
held-out loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from normrnn.optimize import update
from normrnn.rules import Rule
from normrnn.selection.group_prox import group_prox_derivatives
from normrnn.selection.terms import Penalties, Term, refuse_twins, terms_of
from normrnn.selection.update_derivatives import (
    gradients,
    prox_step,
    refuse_unknown_prox,
    smooth_part,
    step_derivative,
)

Array = NDArray[Any]
Strength: TypeAlias = tuple[str, str]  # pattern, and penalty and field: "L1.strength"


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

    For a `Prox` with step a, which is α, under Momentum α/(1 − μ), or under Adam α/(√v̂ + ε) per
    coordinate::

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
        As `update`, or if a rule or the prox of a penalty has no known derivative, as
        `SparseGroupLasso` under `Adam`, a `Prox` or a constraint shares its weights with another
        penalty, or a list has two penalties of one class.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params, grads = {"weight": np.array([3.0, -1.0])}, {"weight": np.array([0.5, 0.5])}
    >>> moved = nr.selection.sensitivity(params, grads, rule=nr.SGD(0.1), penalty=nr.L2(0.2))
    >>> moved["*", "L2.strength"]["weight"].round(6).tolist()
    [-0.6, 0.2]
    """
    refuse_twins(penalty)
    if not isinstance(params, Mapping):
        raise TypeError(f"params: expected a dict, got {type(params).__name__}")
    after = {name: np.array(w, order="C") for name, w in params.items()}
    later = _copy(state)
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
            found += [(term, name, factor * r) for name, r in gradients(term, terms, w, norms)]
            continue
        if term.penalty.constraint and terms.count_of(term.piece) == 1:
            continue  # no λ, and none that its weights depend on
        refuse_unknown_prox(term, terms, rule)
        size = prox_step(rule, slots, step)
        if term.use:
            grouped.append((term, u, size))
        else:
            curvature = smooth_part(term.penalty).gradient(np.ones_like(u))
            found += [
                (term, name, -size * slope / (1 + size * curvature))
                for name, slope in gradients(term, terms, u, norms)
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
    TypeError, ValueError
        If a gradient is missing, not an array or of another shape.

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
    for argument, given in {"moved": moved, "validation_grads": validation_grads}.items():
        if not isinstance(given, Mapping):
            raise TypeError(f"{argument}: expected a mapping, got {type(given).__name__}")
    slopes = {}
    for strength, of in moved.items():
        slopes[strength] = 0.0
        for name, derivative in of.items():
            if name not in validation_grads:
                raise ValueError(f"validation_grads: expected {name!r}, got none")
            g = validation_grads[name]
            if not isinstance(g, np.ndarray):
                got = type(g).__name__
                raise TypeError(f"validation_grads[{name!r}]: expected an ndarray, got {got}")
            if g.shape != derivative.shape:
                raise ValueError(
                    f"validation_grads[{name!r}]: expected shape {derivative.shape}, got {g.shape}"
                )
            slopes[strength] += float(np.sum(derivative * g))
    return slopes


def _copy(value: Any) -> Any:
    """Copy a rule's state, to be changed; what is none, `update` refuses."""
    if isinstance(value, Mapping):
        return {key: _copy(one) for key, one in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else value
