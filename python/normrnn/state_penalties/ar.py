"""Activation regularisation: small states."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from normrnn.state_penalties.base import Array, FunctionOfStates


@dataclass(frozen=True)
class AR(FunctionOfStates):
    """R = strength * mean h_t^2, over the real steps of all sequences and over units.

    A mean, as in the source: padding does not count, and the strength means the same for any
    length, batch and number of units. Where no layer is named it applies to the last one; each
    direction has its own mean. It sees h_t itself, before any dropout of the output; AWD-LSTM's
    code takes the mean of the dropped output y, in expectation 1 / (1 - p) times as large. To have
    exactly that, add strength * mean y^2 to the loss and 2 * strength * y / y.size to dy.

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
    >>> from normrnn.state_penalties import AR
    >>> penalty, h = AR(2.0), np.array([[[3.0, 0.0]], [[-1.0, 2.0]]])
    >>> penalty.value(h), penalty.gradient(h)[0].tolist()
    (7.0, [[[3.0, 0.0]], [[-1.0, 2.0]]])
    """

    kernel = "ar"
    everywhere = False

    def _sum(self, sequences: Sequence[Array]) -> float:
        total = sum(np.sum(h[1:] ** 2) for h in sequences)
        return float(total) / max(1, _elements(sequences))

    def _gradients(self, sequences: Sequence[Array]) -> list[Array]:
        count = max(1, _elements(sequences))
        return [np.vstack([0 * h[:1], 2 * h[1:] / count]) for h in sequences]


def _elements(sequences: Sequence[Array]) -> int:
    return sum(h[1:].size for h in sequences)
