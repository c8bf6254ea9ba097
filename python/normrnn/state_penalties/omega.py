"""Pascanu's Omega: gradients whose norm stays what it is on their way back through time."""

from dataclasses import dataclass

import numpy as np

from normrnn._numbers import check_fields, flag, positive
from normrnn.state_penalties.base import Array, StatePenalty


@dataclass(frozen=True)
class Omega(StatePenalty):
    """R = strength * sum (||q_t|| / ||g_t|| - 1)^2, over steps and sequences; Elman cells only.

    g_t = dL/dh_t is what flows on at step t (with the other penalties, after `clip_state`), s_t =
    dL/d pre-activation, and q_t = s_t W what it sends to h_{t-1}, of one sequence each. g, s and h
    are held constant: only the immediate derivative in W = weight_hh counts,

        dR/dW = strength * sum 2 (||q|| / ||g|| - 1) / (||g|| ||q||) s^T q.

    With `squared`, the norms are squared in the ratio, as in the source's eq. 10 and its authors'
    code; the factor is then 4 (||q||^2 / ||g||^2 - 1) / ||g||^2.

    It holds vanishing gradients back, and by itself makes exploding ones likelier: clip gradients
    as well (`clip_norm` of ``update``), as the source does throughout. A fixed strength suits its
    synthetic tasks; on natural data the source lets it decay as 1/k with the number of the update,
    which is a new ``Omega(strength / k)`` for each.

    Parameters
    ----------
    strength : float
        Factor >= 0 of the sum.
    squared : bool
        Ratios of squared norms (eq. 10) in place of norms (eq. 9).
    floor : float
        Steps with ||g_t||^2 below it, > 0, do not count: there is nothing to keep.

    Raises
    ------
    TypeError, ValueError
        If strength or floor is not a finite number within its bound, or squared not a bool; from
        `backward` ValueError for a cell that is not an Elman cell.

    References
    ----------
    Pascanu, Mikolov & Bengio, On the difficulty of training recurrent neural networks,
    arXiv:1211.5063.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.state_penalties import Omega
    >>> penalty, g, q = Omega(0.5), np.array([[3.0, 4.0]]), np.array([[0.0, 15.0]])
    >>> penalty.value(g, q), penalty.gradient(g, q, s=np.array([[10.0, 0.0]])).tolist()
    (2.0, [[0.0, 4.0], [0.0, 0.0]])
    """

    squared: bool = False
    floor: float = 1e-20
    kernel = "omega"
    cells = ("rnn_tanh", "rnn_relu")  # in which all that goes on to h_{t-1} is s_t W

    def __post_init__(self) -> None:
        """Check the strength, the switch and the floor."""
        super().__post_init__()
        check_fields(self, squared=flag, floor=positive)

    def value(self, g: Array, q: Array) -> float:
        """R of steps in rows: g and q [N, H], in float64."""
        _, term = self._outer_and_term(g, q)
        return self.strength * float(np.sum(term**2))

    def gradient(self, g: Array, q: Array, s: Array, mask: Array | float = 1.0) -> Array:
        """dR/dW [H, H] of steps in rows: g, q and s [N, H]; of s's dtype.

        mask: what dropout of the state multiplied s W by, [N, H].
        """
        outer, _ = self._outer_and_term(g, q)
        norm = np.linalg.norm(q.astype(np.float64), axis=1)
        # At q = 0 the derivative of least size.
        unit = mask * q / np.where(norm == 0, 1, norm)[:, None]
        gradient: Array = self.strength * (outer[:, None] * s).T @ unit
        return gradient.astype(s.dtype)

    def _outer_and_term(self, g: Array, q: Array) -> tuple[Array, Array]:
        """Give each step's factor of s^T q / ||q|| in the gradient, and what R squares."""
        g2, q2 = (np.sum(np.square(a, dtype=np.float64), axis=1) for a in (g, q))
        counts = ~(g2 < self.floor)  # NaN does
        g2 = np.where(counts, g2, 1)
        ratio = np.sqrt(q2 / g2)
        term = np.where(counts, (ratio**2 if self.squared else ratio) - 1, 0)
        inner = 2 * ratio if self.squared else 1
        return 2 * term * inner / np.sqrt(g2), term
