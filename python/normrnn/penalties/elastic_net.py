"""Elastic net: L1 and L2 together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties.base import Penalty
from normrnn.penalties.l1 import soft_threshold


@dataclass(frozen=True)
class ElasticNet(Penalty):
    """R(w) = l1 * ||w||_1 + l2 * ||w||^2.

    Parameters
    ----------
    l1 : float
        Factor >= 0 of the sum of absolute values.
    l2 : float
        Factor >= 0 of the sum of squares; there is no 1/2 in front.

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

    l1: float
    l2: float
    kernel = "elastic_net"

    def value(self, w: NDArray[Any]) -> float:
        """R = l1 * sum |w| + l2 * sum w^2."""
        w = w.astype(np.float64)
        return self.l1 * float(np.sum(np.abs(w))) + self.l2 * float(np.sum(w**2))

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """dR/dw = l1 * sign(w) + 2 * l2 * w, which is 0 at 0."""
        gradient: NDArray[Any] = self.l1 * np.sign(w) + 2 * self.l2 * w
        return gradient

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """S(w, step * l1) / (1 + 2 * step * l2)."""
        return soft_threshold(w, step * self.l1) / (1 + 2 * step * self.l2)
