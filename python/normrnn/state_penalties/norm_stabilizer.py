"""The norm stabiliser: states whose norm stays what it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from normrnn.state_penalties.base import Array, FunctionOfStates


@dataclass(frozen=True)
class NormStabilizer(FunctionOfStates):
    """R = strength * mean_b 1/T_b * sum_t (||h_t|| - ||h_{t-1}||)^2, t = 1, ..., T_b.

    A mean over each sequence's steps, then over the sequences that have any. The first step counts
    from the initial state, which gets its share of the gradient. A state that is zero, as a
    default initial state is, has a norm without a derivative: its share is zero.

    Parameters
    ----------
    strength : float
        Factor >= 0, the source's beta.

    Raises
    ------
    TypeError, ValueError
        If the strength is not a finite number >= 0.

    References
    ----------
    Krueger & Memisevic, Regularizing RNNs by stabilizing activations, arXiv:1511.08400.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.state_penalties import NormStabilizer
    >>> penalty, h, h0 = NormStabilizer(1.0), np.array([[[3.0, 4.0]]]), np.array([[2.0, 0.0]])
    >>> d_h, d_h0 = penalty.gradient(h, h0)
    >>> penalty.value(h, h0), d_h.round(9).tolist(), d_h0.tolist()
    (9.0, [[[3.6, 4.8]]], [[-6.0, -0.0]])
    """

    kernel = "norm_stabilizer"

    def _sum(self, sequences: Sequence[Array]) -> float:
        steps = [np.diff(np.linalg.norm(h, axis=1)) for h in sequences]
        return float(sum(np.mean(d**2) for d in steps if d.size)) / _count(sequences)

    def _gradients(self, sequences: Sequence[Array]) -> list[Array]:
        found = []
        for h in sequences:
            norm = np.linalg.norm(h, axis=1)
            d = 2 * np.diff(norm) / max(1, len(norm) - 1) / _count(sequences)
            pull = np.append(0, d) - np.append(d, 0)  # from the step before, and the one after
            direction = h / np.where(norm == 0, 1, norm)[:, None]
            found.append(pull[:, None] * direction)
        return found


def _count(sequences: Sequence[Array]) -> int:
    return max(1, sum(len(h) > 1 for h in sequences))
