"""Stochastic gradient descent."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from normrnn._numbers import check_fields, non_negative
from normrnn.rules.base import Rule


@dataclass(frozen=True)
class SGD(Rule):
    """w <- w - lr * g. With ``L2(strength)`` this is w <- w - lr * (dL/dw + 2 * strength * w).

    Parameters
    ----------
    lr : float
        Step size >= 0.

    Raises
    ------
    TypeError, ValueError
        If lr is not a finite number >= 0.

    References
    ----------
    Robbins & Monro, A stochastic approximation method, Ann. Math. Statist. 22, 1951.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.rules import SGD
    >>> delta, prox_step = SGD(lr=0.5).step(np.array([1.0]), np.array([4.0]), {}, t=1)
    >>> delta.tolist(), prox_step
    ([2.0], 0.5)
    """

    lr: float
    kernel = "sgd"

    def __post_init__(self) -> None:
        """Check the step size."""
        check_fields(self, lr=non_negative)

    def scalars(self, step: int) -> tuple[float, ...]:
        """(lr,)."""
        return (self.lr,)

    def step(
        self, w: NDArray[Any], g: NDArray[Any], slots: dict[str, NDArray[Any]], t: int
    ) -> tuple[NDArray[Any], float | NDArray[Any]]:
        """Delta = lr * g."""
        return self.lr * g, self.lr
