"""A regularisation path: a network at one λ after the other, each begun where the last ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normrnn._numbers import integer, non_negative, positive
from normrnn.optimize import init_state, update
from normrnn.results import UpdateInfo
from normrnn.rules import SGD, Rule
from normrnn.rules.base import check_rule
from normrnn.selection.curve import (
    Curve,
    check_callables,
    check_lambdas,
    loss_of,
    losses_of,
    mean_and_error,
)
from normrnn.selection.lambda_max import holds_at_zero
from normrnn.selection.terms import Penalties, terms_of

Array = NDArray[Any]
Params: TypeAlias = dict[str, Array]
Fit: TypeAlias = Callable[[Params, Penalties], Mapping[str, Array]]


@dataclass(frozen=True, eq=False)
class Path(Curve):
    """What `path` returns, N the number of λs.

    Attributes
    ----------
    lambdas : ndarray, [N]
        The λs, in the order in which they were used.
    train_loss : ndarray, [N]
        Training loss without the penalty; NaN if it was not asked for.
    validation_loss, standard_error : ndarray, [N]
        Mean of the held-out losses, without the penalty, and its standard error, which is NaN if
        there was one number only.
    nonzero : ndarray of int, [N]
        How many weights are not zero, of those whose penalty can hold them there, as `L1` can.
    params : tuple of dict, N of them, or None
        The parameters at each λ.
    """

    lambdas: Array
    train_loss: Array
    validation_loss: Array
    standard_error: Array
    nonzero: NDArray[np.int64]
    params: tuple[Params, ...] | None


def path(
    fit: Fit,
    params: Mapping[str, Array],
    penalty: Callable[[float], Penalties],
    lambdas: ArrayLike,
    *,
    validation_loss: Callable[[Params], ArrayLike],
    train_loss: Callable[[Params], float] | None = None,
    keep_params: bool = True,
) -> Path:
    """Train at each λ, beginning with the parameters of the one before.

    From large to small λ, a network begins almost empty and takes in what lowers the loss most.
    Begin at `lambda_max`, above which nothing changes: ``np.geomspace(1, 1e-3, 20) * largest``.

    Parameters
    ----------
    fit : callable, fit(params, penalty) -> params
        Trains; may change what it is given, a copy. See `trainer` for a ready one.
    params : mapping of str to ndarray
        Where the first λ begins; left unchanged.
    penalty : callable, penalty(λ) -> what ``update`` takes as penalty
        Such as ``lambda s: nr.Prox(nr.L1(s))``, or with a mapping from pattern to penalty.
    lambdas : array_like of float, [N]
        λs >= 0, best in falling order.
    validation_loss : callable, validation_loss(params) -> float or array_like
        The loss on held-out data, without the penalty; of each held-out part or sequence, if a
        standard error is wanted.
    train_loss : callable, train_loss(params) -> float, optional
        The same on the training data.
    keep_params : bool
        Whether to keep the parameters at every λ.

    Returns
    -------
    Path
        lambdas, train_loss, validation_loss, standard_error, nonzero, params; `Path.best` and
        `Path.one_standard_error` choose among them.

    Raises
    ------
    TypeError, ValueError
        If a λ is negative or not finite, or what a callable returns does not fit.

    References
    ----------
    Friedman, Hastie & Tibshirani, Regularization paths for generalized linear models via
    coordinate descent, J. Statist. Softw. 33(1), 2010.

    Examples
    --------
    One weight, loss (w − 1)² with derivative 2(w − 1), and L1: w = max(0, 1 − λ/2).

    >>> import numpy as np, normrnn as nr
    >>> def gradient(params):
    ...     w = params["weight"]
    ...     return float(np.sum((w - 1) ** 2)), {"weight": 2 * (w - 1)}
    >>> result = nr.path(nr.selection.trainer(gradient, nr.SGD(0.25), 60), {"weight": np.zeros(1)},
    ...                  lambda s: nr.Prox(nr.L1(s)), [2.0, 1.0, 0.5, 0.0],
    ...                  validation_loss=lambda params: (params["weight"] - 0.7) ** 2)
    >>> result.nonzero.tolist(), [round(p["weight"].item(), 6) for p in result.params]
    ([0, 1, 1, 1], [0.0, 0.5, 0.75, 1.0])
    >>> result.lambdas[result.best].item()
    0.5
    """
    check_callables(fit=fit, penalty=penalty, validation_loss=validation_loss)
    if train_loss is not None:
        check_callables(train_loss=train_loss)
    if not isinstance(params, Mapping):
        raise TypeError(f"params: expected a mapping, got {type(params).__name__}")
    strengths = check_lambdas(lambdas)
    current = {name: w.copy() for name, w in params.items()}
    kept, training, held_out, nonzero = [], [], [], []
    for strength in strengths.tolist():
        now = penalty(strength)
        sparse = [t for t in terms_of(now, params).all if holds_at_zero(t.penalty)]
        fitted = fit(current, now)
        if not isinstance(fitted, Mapping) or fitted.keys() != params.keys():
            got = sorted(fitted) if isinstance(fitted, Mapping) else type(fitted).__name__
            raise ValueError(f"fit: expected it to return parameters {sorted(params)}, got {got}")
        current = {name: w.copy() for name, w in fitted.items()}
        # From copies: neither loss can change what is kept and what the next λ begins with.
        judged = validation_loss({name: w.copy() for name, w in current.items()})
        held_out.append(losses_of("validation_loss", judged))
        if train_loss is not None:
            loss = train_loss({name: w.copy() for name, w in current.items()})
            training.append(loss_of("train_loss", loss))
        pieces = {id(term.piece): term for term in sparse}.values()  # a weight counts once
        nonzero.append(sum(np.count_nonzero(term.of(current)) for term in pieces))
        if keep_params:
            kept.append({name: w.copy() for name, w in current.items()})
    means, errors = mean_and_error(held_out)
    return Path(
        lambdas=strengths,
        train_loss=np.array(training or np.full(strengths.size, np.nan)),
        validation_loss=means,
        standard_error=errors,
        nonzero=np.array(nonzero, np.int64),
        params=tuple(kept) if keep_params else None,
    )


def trainer(
    gradient: Callable[[Params], tuple[float, Mapping[str, Array]]],
    rule: Rule,
    steps: int,
    *,
    clip_norm: float | None = None,
    tol: float = 0.0,
) -> Fit:
    """Make a `fit` for `path` that takes steps of one rule, with a fresh state for each λ.

    Parameters
    ----------
    gradient : callable, gradient(params) -> (loss, grads)
        Training loss and its gradients, without the penalty.
    rule : Rule
        Such as ``nr.Adam(1e-2)``.
    steps : int
        Most steps for each λ, at least 1.
    clip_norm : float, optional
        As for ``update``.
    tol : float
        Training at one λ ends when a step moves the parameters by no more than this part of
        their norm, and under `Momentum` a plain step of their prox's size would not either.

    Returns
    -------
    callable, fit(params, penalty) -> params
        Changes params in place and returns them.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> fit = nr.selection.trainer(lambda params: (0.0, {"weight": params["weight"] - 1}),
    ...                            nr.SGD(0.5), steps=100, tol=1e-12)
    >>> fit({"weight": np.zeros(1)}, nr.Prox(nr.L1(0.25)))["weight"].round(6)
    array([0.75])
    """
    check_callables(gradient=gradient)
    check_rule(rule)
    steps = integer("steps", steps, 1)
    tol = non_negative("tol", tol)
    if clip_norm is not None:
        clip_norm = positive("clip_norm", clip_norm)

    def fit(params: Params, penalty: Penalties) -> Params:
        state = init_state(rule, params)
        for _ in range(steps):
            _, grads = gradient(params)
            info = update(params, grads, state, rule=rule, penalty=penalty, clip_norm=clip_norm)
            if is_small(info) and at_rest(params, grads, state["step"], penalty):
                break
        return params

    def at_rest(params: Params, grads: Mapping[str, Array], step: int, penalty: Penalties) -> bool:
        # Where a step grows with a velocity up to the prox's, it takes some to overcome the prox's
        # threshold, and the weights stand still meanwhile: a step that has no memory tells.
        if rule.prox_step == rule.lr:
            return True
        copies, alone = {name: w.copy() for name, w in params.items()}, SGD(rule.prox_step)
        state = init_state(alone, copies) | {"step": step - 1}
        return is_small(
            update(copies, grads, state, rule=alone, penalty=penalty, clip_norm=clip_norm)
        )

    def is_small(info: UpdateInfo) -> bool:
        return info.update_norm <= tol * info.param_norm

    return fit
