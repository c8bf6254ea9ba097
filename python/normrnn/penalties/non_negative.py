"""The constraint that weights are not negative."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties.base import ElementwisePenalty


@dataclass(frozen=True)
class NonNegative(ElementwisePenalty):
    """w >= 0: negative weights become 0 after each step.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties import NonNegative
    >>> NonNegative().prox(np.array([3.0, -1.0]), step=0.1).tolist()
    [3.0, 0.0]
    """

    kernel = "non_negative"
    constraint = True

    def value(self, w: NDArray[Any]) -> float:
        """0: what a violated constraint would cost is not counted."""
        return 0.0

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """0: a constraint acts through its projection alone."""
        return np.zeros_like(w)

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """max(w, 0), whatever the step."""
        projected: NDArray[Any] = np.maximum(w, 0)
        return projected
