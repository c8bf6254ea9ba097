"""What a path and a cross-validation have in common: a held-out loss for each λ, and a choice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


class Curve:
    """Held-out losses over λ.

    Attributes
    ----------
    lambdas : ndarray, [N]
        The λs, in the order in which they were used.
    validation_loss : ndarray, [N]
        Mean held-out loss, without any penalty.
    standard_error : ndarray, [N]
        Its standard error; NaN where there was one number only.
    """

    lambdas: Array
    validation_loss: Array
    standard_error: Array

    @property
    def best(self) -> int:
        """Index of the least held-out loss; a loss that is NaN is never the least."""
        if np.isnan(self.validation_loss).all():
            raise ValueError("validation_loss: expected a number that is not NaN, got none")
        return int(np.nanargmin(self.validation_loss))

    @property
    def one_standard_error(self) -> int:
        """Index of the largest λ whose loss is within one standard error of the least.

        The simplest network that the held-out data cannot tell from the best (Breiman et al.,
        Classification and regression trees, 1984, section 3.4.3).

        Raises
        ------
        ValueError
            If there is no standard error, for want of at least two held-out losses for each λ.
        """
        best = self.best
        if np.isnan(self.standard_error[best]):
            raise ValueError(
                "standard_error: expected at least two held-out losses for each λ, got one"
            )
        bound = self.validation_loss[best] + self.standard_error[best]
        close = np.flatnonzero(self.validation_loss <= bound)
        return int(close[np.argmax(self.lambdas[close])])


def check_lambdas(lambdas: ArrayLike) -> Array:
    """Return λs as a new float64 array after their checks."""
    array = numbers("lambdas", lambdas).copy()
    if array.ndim != 1 or not array.size:
        raise ValueError(f"lambdas: expected shape (N,) with N >= 1, got {array.shape}")
    wrong = array[~((array >= 0) & (array < np.inf))]
    if wrong.size:
        raise ValueError(f"lambdas: expected finite numbers >= 0, got {wrong[0]}")
    return array


def mean_and_error(losses: Iterable[ArrayLike]) -> tuple[Array, Array]:
    """Return each row's mean, and the standard error of it: σ/√n, with σ² over n − 1."""
    means, errors = [], []
    for loss in losses:
        array = np.asarray(loss).ravel()
        n = array.size
        means.append(array.mean())
        errors.append(array.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan)
    return np.array(means), np.array(errors)


def numbers(argument: str, given: ArrayLike) -> Array:
    """Return what was given, or what a callable of this name returned, as float64."""
    try:
        array = np.asarray(given)
        if array.dtype.kind not in "OSUc":  # of objects None would become NaN
            return array.astype(np.float64)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{argument}: expected numbers, got {given!r}")


def losses_of(argument: str, returned: ArrayLike) -> Array:
    """Return the numbers that a callable of this name returned, at least one."""
    array = numbers(argument, returned).ravel()
    if not array.size:
        raise ValueError(f"{argument}: expected at least one number, got none")
    return array


def loss_of(argument: str, returned: ArrayLike) -> float:
    """Return the one number that a callable of this name returned."""
    array = numbers(argument, returned)
    if array.size != 1:
        raise ValueError(f"{argument}: expected one number, got shape {array.shape}")
    return float(array.item())


def check_callables(**given: object) -> None:
    """Refuse anything that cannot be called."""
    for argument, one in given.items():
        if not callable(one):
            raise TypeError(f"{argument}: expected a callable, got {type(one).__name__}")
