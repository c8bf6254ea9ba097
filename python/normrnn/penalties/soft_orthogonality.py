"""Soft orthogonality: columns of a matrix near an orthonormal set."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties.arrays import Arrays
from normrnn.penalties.base import Strength, total
from normrnn.penalties.matrix import MatrixPenalty, Memory


@dataclass(frozen=True)
class SoftOrthogonality(MatrixPenalty):
    """R(W) = strength * ||W^T W - I||^2, the squared Frobenius norm.

    An orthogonal ``weight_hh`` neither stretches nor shrinks the state. For a stack of gates write
    the pattern as ``"weight_hh_l0[*]"``, which means each gate's matrix by itself. NumPy's linear
    algebra finds all of it, in threads of its own; ``num_threads`` does not concern them.

    Parameters
    ----------
    strength : float or callable
        Factor >= 0, or a function from the number of the update to one.
    weights : ndarray, mapping of str to ndarray, or None
        A factor >= 0 of it for each gate; arranged as for `NuclearNorm`.

    References
    ----------
    Vorontsov, Trabelsi, Kadoury & Pal, On orthogonality and learning recurrent networks with long
    term dependencies, arXiv:1702.00071.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties import SoftOrthogonality
    >>> penalty = SoftOrthogonality(0.5)
    >>> penalty.value(np.diag([1.0, 2.0])), penalty.gradient(np.diag([1.0, 2.0])).tolist()
    (4.5, [[0.0, 0.0], [0.0, 12.0]])
    """

    strength: Strength
    weights: Arrays = None
    has_prox = False

    def value(self, w: NDArray[Any]) -> float:
        """R = strength * ||W^T W - I||^2."""
        return self.value_and_gradient(w)[0]

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """4 * strength * W (W^T W - I)."""
        return self.value_and_gradient(w)[1]

    def value_and_gradient(
        self, w: NDArray[Any], memory: Memory | None = None
    ) -> tuple[float, NDArray[Any]]:
        """Both from two products."""
        strength = self.weighted("strength")
        if strength == 0:  # whatever the weights: their squares may be infinite
            return 0.0, np.zeros_like(w)
        excess = w.T @ w - np.eye(w.shape[1], dtype=w.dtype)
        gradient: NDArray[Any] = w.dtype.type(4 * strength) * (w @ excess)
        return strength * total(np.square(excess, dtype=np.float64)), gradient

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """There is none: R is not convex, and a singular matrix has many nearest ones.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError("penalty: expected one with a proximal step, got SoftOrthogonality")
