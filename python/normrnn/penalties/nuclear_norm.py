"""Nuclear norm: low rank."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties.arrays import Arrays
from normrnn.penalties.base import Strength, total
from normrnn.penalties.matrix import MatrixPenalty, Memory, one_step, with_singular_values


@dataclass(frozen=True)
class NuclearNorm(MatrixPenalty):
    """R(W) = strength * sum of W's singular values.

    ``Prox(NuclearNorm(...))`` makes small singular values exactly zero. It needs a rule with one
    step size for all weights, so not `Adam`; `AdamW`, whose prox is decoupled, will do. Each update
    costs a singular value decomposition, and where there is no `state`, or others have changed the
    weights since the last update, singular values once more for the penalty's value. NumPy's linear
    algebra finds them, in threads of its own; ``num_threads`` does not concern them.

    Parameters
    ----------
    strength : float or callable
        Factor >= 0 of the sum, or a function from the number of the update to one.
    weights : ndarray, mapping of str to ndarray, or None
        A factor >= 0 of it for each gate (i f g o, or r z n), whichever of them a pattern such as
        ``"weight_hh_l0[*]"`` is for, or one such array for each parameter name; one factor for a
        matrix that has no gates, or whose gates are taken together.

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
    weights: Arrays = None

    def value(self, w: NDArray[Any]) -> float:
        """R = strength * sum of singular values."""
        sigma = np.linalg.svd(w, compute_uv=False)
        return self.weighted("strength") * total(sigma)

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
        strength = self.weighted("strength")
        gradient: NDArray[Any] = w.dtype.type(strength) * (u[:, kept] @ vt[kept])
        return strength * total(sigma), gradient

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """Soft threshold of the singular values by step * strength.

        Raises
        ------
        ValueError
            If there is a step size for each weight: there is no closed form then.
        """
        return self.prox_and_size(w, step)[0]

    def prox_and_size(
        self, w: NDArray[Any], step: float | NDArray[Any]
    ) -> tuple[NDArray[Any], float]:
        """Both from one decomposition; the size is the sum of the singular values that are left."""
        threshold = one_step(self, step) * self.weighted("strength")
        moved, left = with_singular_values(w, lambda sigma: np.maximum(sigma - threshold, 0))
        return moved, total(left)
