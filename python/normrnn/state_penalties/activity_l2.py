"""Squared L2 on activities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from normrnn.state_penalties.base import Array, FunctionOfStates


@dataclass(frozen=True)
class ActivityL2(FunctionOfStates):
    """R = strength * sum h_t^2, over steps, sequences and units.

    A sum, as a loss with ``reduction="sum"`` is one: under a mean, divide the strength too. `AR` is
    the same as a mean, on the last layer.

    Parameters
    ----------
    strength : float
        Factor >= 0 of the sum of squares; there is no 1/2 in front.

    Raises
    ------
    TypeError, ValueError
        If the strength is not a finite number >= 0.

    References
    ----------
    Merity, McCann & Socher, Revisiting activation regularization for language RNNs,
    arXiv:1708.01009, as a mean.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.state_penalties import ActivityL2
    >>> penalty, h = ActivityL2(0.5), np.array([[[3.0, 0.0]], [[-1.0, 2.0]]])
    >>> penalty.value(h), penalty.gradient(h)[0].tolist()
    (7.0, [[[3.0, 0.0]], [[-1.0, 2.0]]])
    """

    kernel = "activity_l2"

    def _sum(self, sequences: Sequence[Array]) -> float:
        return float(sum(np.sum(h[1:] ** 2) for h in sequences))

    def _gradients(self, sequences: Sequence[Array]) -> list[Array]:
        return [np.vstack([0 * h[:1], 2 * h[1:]]) for h in sequences]
