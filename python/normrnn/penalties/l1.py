"""L1, the lasso's penalty, and the soft threshold that is its prox."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties.arrays import Arrays, bind, factors_for, keep_factors, one_array
from normrnn.penalties.base import ElementwisePenalty, Strength, number, total


def soft_threshold(w: NDArray[Any], threshold: float | NDArray[Any]) -> NDArray[Any]:
    """S(w, a) = sign(w) max(|w| - a, 0): towards zero by a, and zero within a of it."""
    shrunk: NDArray[Any] = np.sign(w) * np.maximum(np.abs(w) - threshold, 0)
    return shrunk


@dataclass(frozen=True)
class L1(ElementwisePenalty):
    """R(w) = strength * ||w||_1.

    As a gradient, strength * sign(w), it pushes weights towards zero and past it; only
    ``Prox(L1(strength))`` makes them exactly zero.

    Parameters
    ----------
    strength : float or callable
        Factor >= 0 of the norm, or a function from the number of the update to one.
    weights : ndarray, mapping of str to ndarray, or None
        A factor >= 0 of the strength for each weight, of a shape that broadcasts to the
        parameter's, or one such array for each parameter name. 1 / |w| at a first estimate of w
        makes this the adaptive lasso.

    References
    ----------
    Tibshirani, Regression shrinkage and selection via the lasso, J. R. Statist. Soc. B 58, 1996.
    With weights: Zou, The adaptive lasso and its oracle properties, JASA 101, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties import L1
    >>> penalty, w = L1(0.5), np.array([3.0, -0.25])
    >>> penalty.value(w), penalty.gradient(w).tolist(), penalty.prox(w, step=1.0).tolist()
    (1.625, [0.5, -0.5], [2.5, -0.0])
    """

    strength: Strength
    weights: Arrays = None
    kernel = "l1"

    def __post_init__(self) -> None:
        """Check the strength, and check and copy the weights."""
        super().__post_init__()
        keep_factors(self, "weights")

    def value(self, w: NDArray[Any]) -> float:
        """R = strength * sum weights * |w|."""
        return total(self._strength() * np.abs(w.astype(np.float64)))

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """dR/dw = strength * weights * sign(w), which is 0 at 0."""
        gradient: NDArray[Any] = self._strength() * np.sign(w)
        return gradient

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """S(w, step * strength * weights)."""
        return soft_threshold(w, step * self._strength())

    def for_parameter(self, name: str) -> "L1":
        """Return the penalty with the weights of this parameter, if it has some for each."""
        return bind(self, name, "weights")

    def weights_for(self, name: str, w: NDArray[Any]) -> NDArray[Any] | None:
        """Return the weights for this parameter, of w's shape and dtype; None for 1."""
        if self.weights is None:
            return None
        return factors_for(self, "weights", name, w, w.shape)

    def _strength(self) -> Any:
        held, strength = one_array("weights", self.weights), number(self, "strength")
        return strength if held is None else strength * held
