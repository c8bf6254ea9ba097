"""L1 on activities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from normrnn.state_penalties.base import Array, FunctionOfStates


@dataclass(frozen=True)
class ActivityL1(FunctionOfStates):
    """R = strength * sum |h_t|, over steps, sequences and units.

    A sum, as a loss with ``reduction="sum"`` is one: under a mean, divide the strength too.

    Parameters
    ----------
    strength : float
        Factor >= 0 of the sum of absolute values.

    Raises
    ------
    TypeError, ValueError
        If the strength is not a finite number >= 0.

    References
    ----------
    Glorot, Bordes & Bengio, Deep sparse rectifier neural networks, AISTATS 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.state_penalties import ActivityL1
    >>> penalty, h = ActivityL1(0.5), np.array([[[3.0, 0.0]], [[-1.0, 2.0]]])
    >>> penalty.value(h), penalty.gradient(h)[0].tolist()
    (3.0, [[[0.5, 0.0]], [[-0.5, 0.5]]])
    """

    kernel = "activity_l1"

    def _sum(self, sequences: Sequence[Array]) -> float:
        return float(sum(np.sum(np.abs(h[1:])) for h in sequences))

    def _gradients(self, sequences: Sequence[Array]) -> list[Array]:
        return [np.vstack([0 * h[:1], np.sign(h[1:])]) for h in sequences]
