"""The smallest λ at which all penalised weights stay zero: where a regularisation path begins."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties import L1, ElasticNet, Penalty, Prox, resolve

Array = NDArray[Any]


def lambda_max(
    params: Mapping[str, Array],
    grads: Mapping[str, Array],
    penalty: Penalty | Prox | Mapping[str, Penalty | Prox | None],
) -> float:
    """Return the smallest factor λ at which λ·penalty holds all penalised weights at zero.

    With the other parameters given, zero is stationary for L + λR if 0 ∈ ∇L(0) + λ ∂R(0)::

        L1, ElasticNet       λ_max = max |∂L/∂w| / l1

    with strengths as in `penalty`: for ``nr.L1(1.0)`` the result is a strength, and for a mapping
    the factor for the strengths of all that are named above. An L2 holds nothing at zero: the L2 of
    other weights belongs to what is given, and the one in an elastic net has gradient 0 at 0. A
    proximal step of any size from zero stays at zero if λ >= λ_max, and leaves it below.

    Where the other parameters are is part of the question. Train them with the penalised ones at
    zero first, for instance at a λ that is far too large: ``fit(params, nr.Prox(nr.L1(1e6)))``.
    A network in which a zero matrix is multiplied by another zero matrix has gradient 0 and does
    not begin to learn at any λ; penalise one of the two, or begin a path elsewhere.

    Parameters
    ----------
    params : mapping of str to ndarray
        Weights, those with a penalty that can hold them at zero all zero.
    grads : mapping of str to ndarray
        ∂L/∂w there, of the loss alone.
    penalty : Penalty, Prox or mapping
        As for ``update``.

    Returns
    -------
    float
        λ_max >= 0.

    Raises
    ------
    TypeError
        If something else than a penalty is given.
    ValueError
        If such a weight is not zero, no penalty can hold weights at zero, a strength is zero, or
        names or shapes do not fit.

    References
    ----------
    Friedman, Hastie & Tibshirani, J. Statist. Softw. 33(1), 2010, section 2.5.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params, grads = {"weight": np.zeros(2)}, {"weight": np.array([0.5, -2.0])}
    >>> nr.selection.lambda_max(params, grads, nr.L1(1.0))
    2.0
    """
    if grads.keys() != params.keys():
        odd = sorted(params.keys() ^ grads.keys())
        raise ValueError(f"grads: expected the names of params, got a difference in {odd}")
    largest = []
    for name, one in resolve(penalty, params).items():
        inner = one.penalty if isinstance(one, Prox) else one
        if inner is None or not holds_at_zero(inner):
            continue
        w, g = params[name], grads[name]
        if g.shape != w.shape:
            raise ValueError(f"grads[{name!r}]: expected shape {w.shape}, got {g.shape}")
        if np.any(w):
            raise ValueError(f"{name}: expected only zeros, where λ_max is defined, got others")
        largest.append(dual_norm(inner, g.astype(np.float64)))
    if not largest:
        raise ValueError("penalty: expected one that can hold weights at zero, got none")
    return max(largest)


def holds_at_zero(penalty: Penalty) -> bool:
    """Say whether the penalty has a kink at zero, and weights under it a λ_max."""
    return dual_norm.dispatch(type(penalty)) is not dual_norm.dispatch(object)


@singledispatch
def dual_norm(penalty: Penalty, g: Array) -> float:
    """Smallest λ with −g in λ times the penalty's subdifferential at zero."""
    raise TypeError(f"penalty: expected one with a kink at zero, got {type(penalty).__name__}")


@dual_norm.register
def _(penalty: L1, g: Array) -> float:
    return _largest(np.abs(g)) / _above_zero("strength", penalty.strength)


@dual_norm.register
def _(penalty: ElasticNet, g: Array) -> float:
    return _largest(np.abs(g)) / _above_zero("l1", penalty.l1)


def _largest(values: Array) -> float:
    return float(np.max(values, initial=0.0))


def _above_zero(name: str, strength: float) -> float:
    if strength == 0:
        raise ValueError(f"{name}: expected a number > 0 for λ_max, got 0.0")
    return strength
