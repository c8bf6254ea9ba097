"""Nuclear norm: low rank."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties.base import Strength, number
from normrnn.penalties.matrix import MatrixPenalty, Memory


@dataclass(frozen=True)
class NuclearNorm(MatrixPenalty):
    """R(W) = strength * sum of W's singular values.

    ``Prox(NuclearNorm(...))`` makes small singular values exactly zero. It needs a rule with one
    step size for all weights, so not `Adam`; `AdamW`, whose prox is decoupled, will do. Each update
    costs a singular value decomposition.

    Parameters
    ----------
    strength : float or callable
        Factor >= 0 of the sum, or a function from the number of the update to one.

    References
    ----------
    Cai, Candès & Shen, A singular value thresholding algorithm, SIAM J. Optim. 20, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties import NuclearNorm
    >>> penalty = NuclearNorm(0.5)
    >>> penalty.value(np.diag([3.0, 1.0])), penalty.prox(np.diag([3.0, 1.0]), step=2.0).tolist()
    (2.0, [[2.0, 0.0], [0.0, 0.0]])
    """

    strength: Strength

    def value(self, w: NDArray[Any]) -> float:
        """R = strength * sum of singular values."""
        return number(self, "strength") * float(np.sum(np.linalg.svd(w, compute_uv=False)))

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """Strength * U V^T over the singular values that are not zero."""
        return self.value_and_gradient(w)[1]

    def value_and_gradient(
        self, w: NDArray[Any], memory: Memory | None = None
    ) -> tuple[float, NDArray[Any]]:
        """Both from one decomposition."""
        u, sigma, vt = np.linalg.svd(w, full_matrices=False)
        largest = float(sigma.max(initial=0))
        kept = sigma > largest * max(w.shape) * np.finfo(w.dtype).eps
        strength = w.dtype.type(number(self, "strength"))
        gradient: NDArray[Any] = strength * (u[:, kept] @ vt[kept])
        return float(strength) * float(np.sum(sigma, dtype=np.float64)), gradient

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """Soft threshold of the singular values by step * strength.

        Raises
        ------
        ValueError
            If there is a step size for each weight: there is no closed form then.
        """
        if np.ndim(step):
            raise ValueError("step: expected one number for NuclearNorm, got an array")
        u, sigma, vt = np.linalg.svd(w, full_matrices=False)
        sigma = np.maximum(sigma - w.dtype.type(step * number(self, "strength")), 0)
        moved: NDArray[Any] = (u * sigma) @ vt
        return moved
