"""L1, the lasso's penalty, and the soft threshold that is its prox."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties.base import Penalty


def soft_threshold(w: NDArray[Any], threshold: float | NDArray[Any]) -> NDArray[Any]:
    """S(w, a) = sign(w) max(|w| - a, 0): towards zero by a, and zero within a of it."""
    shrunk: NDArray[Any] = np.sign(w) * np.maximum(np.abs(w) - threshold, 0)
    return shrunk


@dataclass(frozen=True)
class L1(Penalty):
    """R(w) = strength * ||w||_1.

    As a gradient, strength * sign(w), it pushes weights towards zero and past it; only
    ``Prox(L1(strength))`` makes them exactly zero.

    Parameters
    ----------
    strength : float
        Factor >= 0 of the norm.

    References
    ----------
    Tibshirani, Regression shrinkage and selection via the lasso, J. R. Statist. Soc. B 58, 1996.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties import L1
    >>> penalty, w = L1(0.5), np.array([3.0, -0.25])
    >>> penalty.value(w), penalty.gradient(w).tolist(), penalty.prox(w, step=1.0).tolist()
    (1.625, [0.5, -0.5], [2.5, -0.0])
    """

    strength: float
    kernel = "l1"

    def value(self, w: NDArray[Any]) -> float:
        """R = strength * sum |w|."""
        return self.strength * float(np.sum(np.abs(w), dtype=np.float64))

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """dR/dw = strength * sign(w), which is 0 at 0."""
        gradient: NDArray[Any] = self.strength * np.sign(w)
        return gradient

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """S(w, step * strength)."""
        return soft_threshold(w, step * self.strength)
