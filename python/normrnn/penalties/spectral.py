"""The largest singular value: a penalty of it, and a hard cap."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn._numbers import check_fields, positive
from normrnn.penalties.base import Strength, number
from normrnn.penalties.matrix import MatrixPenalty, Memory, leading_singular_vectors


@dataclass(frozen=True)
class SpectralNorm(MatrixPenalty):
    """R(W) = strength / 2 * sigma_1(W)^2, sigma_1 the largest singular value.

    On ``weight_hh`` it holds the factor by which a step can stretch the state. The gradient and
    the value beside it come from Lanczos' method; given a `state`, `update` starts it where it
    ended the last time, and a step costs a few products of the matrix with a vector.

    Parameters
    ----------
    strength : float or callable
        Factor >= 0, or a function from the number of the update to one.
    tolerance : float
        Vectors are good enough when ||W^T u - sigma_1 v|| <= tolerance * sigma_1, > 0; the value is
        then off by the square of it, divided by how far apart the singular values are. With a
        `state`, a direction that has just overtaken the old one may take some ten updates to be
        found, and sigma_1 is a per cent or two too small until then.

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
    has_prox = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        check_fields(self, tolerance=positive)

    def value(self, w: NDArray[Any]) -> float:
        """R = strength / 2 * sigma_1^2."""
        sigma = float(np.max(np.linalg.svd(w, compute_uv=False), initial=0))
        return number(self, "strength") / 2 * sigma**2

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """Strength * sigma_1 * u v^T."""
        return self.value_and_gradient(w)[1]

    def value_and_gradient(
        self, w: NDArray[Any], memory: Memory | None = None
    ) -> tuple[float, NDArray[Any]]:
        """Both by iteration from where it ended the last time."""
        sigma, u, v = leading_singular_vectors(w, memory, tolerance=self.tolerance)
        strength = number(self, "strength")
        gradient: NDArray[Any] = np.outer(w.dtype.type(strength * sigma) * u, v)
        return strength / 2 * sigma**2, gradient

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """There is none.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError("penalty: expected one with a proximal step, got SpectralNorm")


@dataclass(frozen=True)
class SpectralCap(MatrixPenalty):
    """sigma_1(W) <= bound: larger singular values are cut down to it after each step.

    With ``weight_hh`` of a tanh network below 1 gradients cannot explode. The nearest matrix that
    keeps the bound, by a singular value decomposition, unless the Frobenius norm shows that there
    is nothing to do.

    Parameters
    ----------
    bound : float or callable
        Largest singular value, >= 0, or a function from the number of the update to one.

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
    constraint = True

    def value(self, w: NDArray[Any]) -> float:
        """0: what a violated constraint would cost is not counted."""
        return 0.0

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """0: a constraint acts through its projection alone."""
        return np.zeros_like(w)

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """U min(sigma, bound) V^T, whatever the step."""
        bound = number(self, "bound")
        if float(np.linalg.norm(w.astype(np.float64))) <= bound:
            return w.copy()
        u, sigma, vt = np.linalg.svd(w, full_matrices=False)
        if float(sigma.max(initial=0)) <= bound:
            return w.copy()
        capped: NDArray[Any] = (u * np.minimum(sigma, w.dtype.type(bound))) @ vt
        return capped
