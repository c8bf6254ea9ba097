"""The smallest λ at which all penalised weights stay zero: where a regularisation path begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties import L1, ElasticNet, GroupLasso, NuclearNorm, Penalty, SparseGroupLasso
from normrnn.penalties.base import ElementwisePenalty, number, strength_names
from normrnn.selection.terms import Penalties, Term, Terms, terms_of, with_strengths

Array = NDArray[Any]


def lambda_max(
    params: Mapping[str, Array], grads: Mapping[str, Array], penalty: Penalties
) -> float:
    """Return the smallest factor λ at which λ·penalty holds all penalised weights at zero.

    With the other parameters given, zero is stationary for L + λR if 0 ∈ ∇L(0) + λ ∂R(0). With
    g = ∂L/∂w there::

        L1, ElasticNet       λ_max = max |g| / l1
        GroupLasso           λ_max = max over groups ‖g_g‖ / (strength √p_g)
        SparseGroupLasso     the largest root of ‖S(g_g, λ l1)‖ = λ group √p_g, by bisection
        NuclearNorm          λ_max = σ₁(g) / strength

    with strengths as in `penalty`: for ``nr.L1(1.0)`` the result is a strength, and for a mapping
    the factor for the strengths of all that are named above. An L2 holds nothing at zero: the L2 of
    other weights belongs to what is given, and the one in an elastic net has gradient 0 at 0. A
    plain proximal step of any size from zero, or Adam's, stays at zero if λ >= λ_max, and leaves it
    below; one with momentum does so once its velocity has grown. Under `AdamW` λ_max means nothing:
    its prox weighs λ against m̂/(√v̂ + ε), about ±1, whatever the size of the gradients.

    What has a factor of 0 in `weights` is held at zero by no λ. It is left out and belongs to what
    is given, whatever its value: λ_max is of the weights, groups or gates with a factor above 0.

    Where the other parameters are is part of the question. Train them with the penalised ones at
    zero first, for instance at a λ that is far too large: ``fit(params, nr.Prox(nr.L1(1e6)))``.
    A network in which a zero matrix is multiplied by another zero matrix has gradient 0 and does
    not begin to learn at any λ; penalise one of the two, or begin a path elsewhere.

    Parameters
    ----------
    params : mapping of str to ndarray
        Weights, those that the penalty can hold at zero all zero.
    grads : mapping of str to ndarray
        ∂L/∂w there, of the loss alone.
    penalty : Penalty, Prox, sequence or mapping
        As for ``update``.

    Returns
    -------
    float
        λ_max >= 0.

    Raises
    ------
    TypeError
        If something else than a penalty, or than an array, is given.
    ValueError
        If such a weight is not zero, no penalty can hold weights at zero, a strength or every
        factor is zero, or names or shapes do not fit.

    References
    ----------
    Friedman, Hastie & Tibshirani, J. Statist. Softw. 33(1), 2010, section 2.5; with groups, Simon,
    Friedman, Hastie & Tibshirani, J. Comput. Graph. Statist. 22, 2013.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params, grads = {"weight": np.zeros(2)}, {"weight": np.array([3.0, -4.0])}
    >>> nr.selection.lambda_max(params, grads, nr.L1(1.0))
    4.0
    >>> round(nr.selection.lambda_max(params, grads, nr.GroupLasso(1.0)), 6)  # 5 / √2
    3.535534
    """
    for argument, given in {"params": params, "grads": grads}.items():
        if not isinstance(given, Mapping):
            raise TypeError(f"{argument}: expected a mapping, got {type(given).__name__}")
    if grads.keys() != params.keys():
        odd = sorted(params.keys() ^ grads.keys())
        raise ValueError(f"grads: expected the names of params, got a difference in {odd}")
    terms = terms_of(penalty, params)
    sparse = [term for term in terms.all if holds_at_zero(term.penalty)]
    if not sparse:
        raise ValueError("penalty: expected one that can hold weights at zero, got none")
    pulls = {id(term): _pull(term, terms, term.of(params)) for term in sparse}
    for term in sparse:
        name = term.piece.name
        if not isinstance(grads[name], np.ndarray):
            got = type(grads[name]).__name__
            raise TypeError(f"grads[{name!r}]: expected an ndarray, got {got}")
        if grads[name].shape != params[name].shape:
            raise ValueError(
                f"grads[{name!r}]: expected shape {params[name].shape}, got {grads[name].shape}"
            )
        if not np.all(np.isfinite(term.of(grads))):
            raise ValueError(f"grads[{name!r}]: expected finite numbers, got others")
        if np.any(term.of(params)[pulls[id(term)] > 0]):
            raise ValueError(f"{name}: expected only zeros, where λ_max is defined, got others")
        if len([one for one in sparse if one.piece is term.piece]) > 1:
            raise ValueError(
                f"penalty: expected one for {name} that can hold weights at zero, got more; "
                "SparseGroupLasso is the sum of L1 and GroupLasso"
            )
    if not any(pull.any() or not pull.size for pull in pulls.values()):
        raise ValueError("weights: expected a factor > 0 for λ_max, got only 0.0")
    found = [_of_groups([term for term in sparse if term.use], terms, grads)]
    for term in sparse:
        g, pull = term.of(grads), pulls[id(term)]
        if isinstance(term.penalty, ElementwisePenalty):
            found.append(float(np.max(np.abs(g[pull > 0]) / pull[pull > 0], initial=0.0)))
        elif isinstance(term.penalty, NuclearNorm) and pull.any():
            found.append(float(np.linalg.norm(g, 2) / term.penalty.weighted("strength")))
    return max(found)


def holds_at_zero(penalty: Penalty) -> bool:
    """Say whether the penalty has a kink at zero, and weights under it a λ_max."""
    return isinstance(penalty, L1 | ElasticNet | GroupLasso | SparseGroupLasso | NuclearNorm)


def _pull(term: Term, terms: Terms, w: Array) -> Array:
    """Return what holds each weight at zero: λ₁ or strength, factors included; 0 where one is 0.

    Raises
    ------
    ValueError
        If the strength itself is 0.
    """
    penalty = term.penalty
    kinks = [name for name in strength_names(type(penalty)) if name != "l2"]  # an L2 has none
    if not any(number(penalty, name) for name in kinks):
        raise ValueError("penalty: expected strengths > 0 for λ_max, got 0.0")
    if isinstance(penalty, ElementwisePenalty):
        return _l1(penalty, w)
    if isinstance(penalty, NuclearNorm):
        return np.full(w.shape, penalty.weighted("strength"))
    own, l1 = _parts(penalty)
    return np.maximum(own * terms.group_weights[term.groups_of(w)], l1)


def _parts(penalty: Penalty) -> tuple[float, float]:
    """Return the strength of groups, and of each weight in them."""
    if isinstance(penalty, SparseGroupLasso):
        return number(penalty, "group"), number(penalty, "l1")
    return number(penalty, "strength"), 0.0


def _of_groups(members: list[Term], terms: Terms, grads: Mapping[str, Array]) -> float:
    """λ_max of all groups: for each the least λ with Σ max(|g| − λ l1, 0)² <= (λ s)²."""
    if not members:
        return 0.0
    sizes = [(term, np.abs(term.of(grads))) for term in members]
    own, l1 = np.zeros_like(terms.group_weights), np.zeros_like(terms.group_weights)
    for term, size in sizes:
        groups = term.groups_of(size)
        own[groups], l1[groups] = _parts(term.penalty)
    own *= terms.group_weights
    norms = np.sqrt(terms.sum_over_groups([(term, size**2) for term, size in sizes]))
    # Either part alone holds a group at zero from here on; without either there is no such λ.
    either = np.maximum(own, l1)
    high = np.divide(norms, either, where=either > 0, out=np.zeros_like(norms))
    if not l1.any():
        return float(high.max())
    low = np.zeros_like(norms)
    for _ in range(100):  # halvings
        middle = (low + high) / 2
        left = [
            (term, np.maximum(size - (middle * l1)[term.groups_of(size)], 0) ** 2)
            for term, size in sizes
        ]
        above = terms.sum_over_groups(left) > (middle * own) ** 2
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return float(high.max())


def _l1(penalty: Penalty, like: Array) -> Array:
    """Return λ₁ of each weight, its factors included: dR/dw at 1 of the part that has a kink."""
    name = "l1" if isinstance(penalty, ElasticNet) else "strength"
    strength = getattr(penalty, name)
    return with_strengths(penalty, **{name: strength}).gradient(np.ones_like(like))
