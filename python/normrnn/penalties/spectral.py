"""The largest singular value: a penalty of it, and a hard cap."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn._numbers import check_fields, positive
from normrnn.penalties.arrays import Arrays
from normrnn.penalties.base import Strength
from normrnn.penalties.matrix import (
    MatrixPenalty,
    Memory,
    leading_singular_vectors,
    one_step,
    with_singular_values,
)


@dataclass(frozen=True)
class SpectralNorm(MatrixPenalty):
    """R(W) = strength / 2 * sigma_1(W)^2, sigma_1 the largest singular value.

    On ``weight_hh`` it holds the factor by which a step can stretch the state. The gradient and
    the value beside it come from Lanczos' method; given a `state`, `update` starts it where it
    ended the last time, and a step costs a few products of the matrix with a vector. In a `Prox`,
    under a rule with one step size for all weights, the largest singular values become one and the
    same smaller number, at the cost of a decomposition. NumPy's linear algebra finds all of it, in
    threads of its own; ``num_threads`` does not concern them.

    Parameters
    ----------
    strength : float or callable
        Factor >= 0, or a function from the number of the update to one.
    tolerance : float
        Vectors are good enough when ||W^T u - sigma_1 v|| <= tolerance * sigma_1, > 0; the value is
        then off by the square of it, divided by how far apart the singular values are. With a
        `state`, a direction that has just overtaken the old one may take some ten or twenty
        updates to be found, and sigma_1 is some per cent too small until then.
    weights : ndarray, mapping of str to ndarray, or None
        A factor >= 0 of the strength for each gate; arranged as for `NuclearNorm`.

    References
    ----------
    Yoshida & Miyato, Spectral norm regularization for improving the generalizability of deep
    learning, arXiv:1705.10941, who take one power iteration per step.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties import SpectralNorm
    >>> penalty = SpectralNorm(0.5)
    >>> round(penalty.value(np.diag([2.0, 1.0])), 6)
    1.0
    >>> float(penalty.gradient(np.diag([2.0, 1.0]))[0, 0].round(3))
    1.0
    """

    strength: Strength
    tolerance: float = 1e-3
    weights: Arrays = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        check_fields(self, tolerance=positive)

    def value(self, w: NDArray[Any]) -> float:
        """R = strength / 2 * sigma_1^2."""
        sigma = float(np.max(np.linalg.svd(w, compute_uv=False), initial=0))
        return self.weighted("strength") / 2 * sigma * sigma

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """Strength * sigma_1 * u v^T."""
        return self.value_and_gradient(w)[1]

    def value_and_gradient(
        self, w: NDArray[Any], memory: Memory | None = None
    ) -> tuple[float, NDArray[Any]]:
        """Both by iteration from where it ended the last time."""
        sigma, u, v = leading_singular_vectors(w, memory, tolerance=self.tolerance)
        strength = self.weighted("strength")
        gradient: NDArray[Any] = np.outer(w.dtype.type(strength * sigma) * u, v)
        return strength / 2 * sigma * sigma, gradient

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """Cut singular values down to the tau at which step * strength * tau is what is cut off.

        Raises
        ------
        ValueError
            If there is a step size for each weight: there is no closed form then.
        """
        return self.prox_and_size(w, step)[0]

    def prox_and_size(
        self, w: NDArray[Any], step: float | NDArray[Any]
    ) -> tuple[NDArray[Any], float]:
        """Both from one decomposition; the size is tau^2 / 2."""
        a = one_step(self, step) * self.weighted("strength")

        # a tau is sum_{i <= k} (sigma_i - tau) for the k that are cut, and no less for another k.
        def cut(sigma: NDArray[np.float64]) -> NDArray[np.float64]:
            tau = np.max(np.cumsum(sigma) / (a + np.arange(1, sigma.size + 1)), initial=0)
            held: NDArray[np.float64] = np.minimum(sigma, tau)
            return held

        moved, left = with_singular_values(w, cut)
        largest = float(left.max(initial=0))
        return moved, largest * largest / 2


@dataclass(frozen=True)
class SpectralCap(MatrixPenalty):
    """sigma_1(W) <= bound: larger singular values are cut down to it after each step.

    With ``weight_hh`` of a tanh network below 1 gradients cannot explode. The nearest matrix that
    keeps the bound, by a singular value decomposition, unless a Cholesky decomposition, which takes
    a small part of the time, shows that there is nothing to do. NumPy's linear algebra does both,
    in threads of its own; ``num_threads`` does not concern them.

    Parameters
    ----------
    bound : float or callable
        Largest singular value, >= 0, or a function from the number of the update to one.
    weights : ndarray, mapping of str to ndarray, or None
        A factor >= 0 of the bound for each gate; arranged as for `NuclearNorm`.

    References
    ----------
    Sedghi, Gupta & Long, The singular values of convolutional layers, arXiv:1805.10408, clip
    likewise; Pascanu, Mikolov & Bengio, arXiv:1211.5063, section 3.1, on what the bound means.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties import SpectralCap
    >>> SpectralCap(1.0).prox(np.diag([2.0, 0.5]), step=0.1).tolist()
    [[1.0, 0.0], [0.0, 0.5]]
    """

    bound: Strength
    weights: Arrays = None
    constraint = True

    def value(self, w: NDArray[Any]) -> float:
        """0: what a violated constraint would cost is not counted."""
        return 0.0

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """0: a constraint acts through its projection alone."""
        return np.zeros_like(w)

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """U min(sigma, bound) V^T, whatever the step."""
        bound = self.weighted("bound")
        if _keeps(w, bound):
            return w.copy()
        return with_singular_values(w, lambda sigma: np.minimum(sigma, bound))[0]


def _keeps(w: NDArray[Any], bound: float) -> bool:
    """Whether sigma_1 <= bound for certain: I - W^T W / bound^2 is positive definite.

    So it is if Cholesky's decomposition exists of what is left once the rounding of the product has
    been taken off. The Frobenius norm, of which sigma_1 is at least 1 / sqrt(rank), comes first.
    """
    largest = float(np.abs(w).max(initial=0))
    if largest == 0:
        return True
    w, bound = w / np.float64(largest), bound / largest  # so that squares are numbers
    norm = float(np.linalg.norm(w))
    if norm <= bound:
        return True
    if not norm <= math.sqrt(min(w.shape)) * bound:
        return False
    tall = (w if w.shape[0] >= w.shape[1] else w.T) / bound
    rounding = (len(tall) + 2) * np.finfo(np.float64).eps * (norm / bound) ** 2
    try:
        np.linalg.cholesky((1 - rounding) * np.eye(tall.shape[1]) - tall.T @ tall)
    except np.linalg.LinAlgError:
        return False
    return True
