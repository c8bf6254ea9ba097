"""How a rule's step, a penalty's gradient and its prox depend on λ: the parts of `sensitivity`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import singledispatch
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties import L1, L2, ElasticNet, GroupLasso, Penalty, SparseGroupLasso
from normrnn.penalties.base import number, strength_names
from normrnn.rules import SGD, Adam, Momentum, Rule
from normrnn.selection.terms import Term, Terms, with_strengths

Array = NDArray[Any]
Slots: TypeAlias = dict[str, Array]


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
    return rule.prox_step


def gradients(term: Term, terms: Terms, w: Array, norms: Array) -> Iterator[tuple[str, Array]]:
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


def smooth_part(penalty: Penalty) -> Penalty:
    """Return the L2 in a penalty of each weight, towards 0; its gradient at 1 is the curvature."""
    if isinstance(penalty, L2):
        return replace(penalty, center=None)
    l2 = {"l2": number(penalty, "l2")} if isinstance(penalty, ElasticNet) else {}
    return with_strengths(penalty, **l2)


def refuse_unknown_prox(term: Term, terms: Terms, rule: Rule) -> None:
    """Refuse a proximal step without a known derivative."""
    known = isinstance(term.penalty, L1 | L2 | ElasticNet | GroupLasso | SparseGroupLasso)
    if not known:
        raise TypeError(
            f"penalty: expected for {term.piece.name} a Prox whose derivative is known, of L1, L2, "
            f"ElasticNet, GroupLasso or SparseGroupLasso, got {type(term.penalty).__name__}"
        )
    if isinstance(term.penalty, SparseGroupLasso) and not rule.uniform_step:
        raise ValueError(
            "rule: expected one with the same step size for all weights for "
            f"Prox(SparseGroupLasso), such as SGD or AdamW, got {type(rule).__name__}"
        )
    if terms.count_of(term.piece) > 1:
        raise ValueError(
            f"penalty: expected no other penalty of {term.piece.name} beside its Prox, got one"
        )
