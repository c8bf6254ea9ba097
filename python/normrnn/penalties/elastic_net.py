"""Elastic net: L1 and L2 together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties.arrays import Arrays, bind, factors_for, keep_factors, one_array
from normrnn.penalties.base import ElementwisePenalty, Strength, number, total
from normrnn.penalties.l1 import soft_threshold


@dataclass(frozen=True)
class ElasticNet(ElementwisePenalty):
    """R(w) = l1 * ||w||_1 + l2 * ||w||^2.

    Parameters
    ----------
    l1 : float or callable
        Factor >= 0 of the sum of absolute values.
    l2 : float or callable
        Factor >= 0 of the sum of squares; there is no 1/2 in front.
    weights : ndarray, mapping of str to ndarray, or None
        A factor >= 0 of both for each weight; see `L1`.

    References
    ----------
    Zou & Hastie, Regularization and variable selection via the elastic net, J. R. Statist. Soc. B
    67, 2005.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties import ElasticNet
    >>> penalty, w = ElasticNet(l1=1.0, l2=0.5), np.array([3.0])
    >>> penalty.value(w), penalty.gradient(w).tolist(), penalty.prox(w, step=1.0).tolist()
    (7.5, [4.0], [1.0])
    """

    l1: Strength
    l2: Strength
    weights: Arrays = None
    kernel = "elastic_net"

    def __post_init__(self) -> None:
        """Check the strengths, and check and copy the weights."""
        super().__post_init__()
        keep_factors(self, "weights")

    def value(self, w: NDArray[Any]) -> float:
        """R = sum weights * (l1 * |w| + l2 * w^2)."""
        l1, l2 = self._strengths()
        w = w.astype(np.float64)
        return total(l1 * np.abs(w)) + total(l2 * w**2)

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """dR/dw = weights * (l1 * sign(w) + 2 * l2 * w), which is 0 at 0."""
        l1, l2 = self._strengths()
        gradient: NDArray[Any] = l1 * np.sign(w) + 2 * l2 * w
        return gradient

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """S(w, step * weights * l1) / (1 + 2 * step * weights * l2)."""
        l1, l2 = self._strengths()
        moved: NDArray[Any] = soft_threshold(w, step * l1) / (1 + 2 * step * l2)
        return moved

    def for_parameter(self, name: str) -> "ElasticNet":
        """Return the penalty with the weights of this parameter, if it has some for each."""
        return bind(self, name, "weights")

    def weights_for(self, name: str, w: NDArray[Any]) -> NDArray[Any] | None:
        """Return the weights for this parameter, of w's shape and dtype; None for 1."""
        if self.weights is None:
            return None
        return factors_for(self, "weights", name, w, w.shape)

    def _strengths(self) -> tuple[Any, Any]:
        held = one_array("weights", self.weights)
        both: tuple[Any, Any] = (number(self, "l1"), number(self, "l2"))
        return both if held is None else (both[0] * held, both[1] * held)
