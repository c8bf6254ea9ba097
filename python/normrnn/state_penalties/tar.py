"""Temporal activation regularisation: slow states."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from normrnn.state_penalties.base import Array, FunctionOfStates


@dataclass(frozen=True)
class TAR(FunctionOfStates):
    """R = strength * mean (h_{t+1} - h_t)^2, over neighbouring real steps and over units.

    A mean over all pairs of steps of one sequence; the initial state is in none of them. Where no
    layer is named it applies to the last one; each direction has its own mean.

    Parameters
    ----------
    strength : float
        Factor >= 0 of the mean.

    Raises
    ------
    TypeError, ValueError
        If the strength is not a finite number >= 0.

    References
    ----------
    Merity, McCann & Socher, Revisiting activation regularization for language RNNs,
    arXiv:1708.01009; as part of AWD-LSTM, Merity, Keskar & Socher, arXiv:1708.02182.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.state_penalties import TAR
    >>> penalty, h = TAR(1.0), np.array([[[3.0, 0.0]], [[-1.0, 2.0]]])
    >>> penalty.value(h), penalty.gradient(h)[0].tolist()
    (10.0, [[[4.0, -2.0]], [[-4.0, 2.0]]])
    """

    kernel = "tar"
    everywhere = False

    def _sum(self, sequences: Sequence[Array]) -> float:
        total = sum(np.sum(np.diff(h[1:], axis=0) ** 2) for h in sequences)
        return float(total) / max(1, _pairs(sequences))

    def _gradients(self, sequences: Sequence[Array]) -> list[Array]:
        count, found = max(1, _pairs(sequences)), []
        for h in sequences:
            pull = 2 * np.diff(h[1:], axis=0) / count
            d = np.zeros_like(h)
            d[2:] += pull
            d[1:-1] -= pull
            found.append(d)
        return found


def _pairs(sequences: Sequence[Array]) -> int:
    return sum(h[2:].size for h in sequences)
