"""Penalties of a matrix as a whole: of its singular values, or its distance from orthogonal.

They need products of matrices or singular values, which NumPy's linear algebra does; `update` adds
their gradients in its one pass.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties.base import Penalty

#: What a penalty remembers of a parameter between updates: vectors to start an iteration from.
Memory = dict[str, NDArray[Any]]


class MatrixPenalty(Penalty):
    """A penalty of a whole matrix [rows, columns]; ``"weight_hh_l0[*]"`` means each gate's."""

    def value_and_gradient(
        self, w: NDArray[Any], memory: Memory | None = None
    ) -> tuple[float, NDArray[Any]]:
        """R and dR/dw. What is found by iteration starts from `memory`, which is changed."""
        return self.value(w), self.gradient(w)

    def check(self, name: str, w: NDArray[Any]) -> None:
        """Refuse what is not a matrix.

        Raises
        ------
        ValueError
            Naming the parameter.
        """
        if w.ndim != 2:
            raise ValueError(
                f"penalty: expected a matrix for {type(self).__name__}, got {name} of shape "
                f"{w.shape}"
            )


def leading_singular_vectors(
    w: NDArray[Any],
    memory: Memory | None = None,
    *,
    tolerance: float = 1e-6,
    most: int = 1000,
) -> tuple[float, NDArray[Any], NDArray[Any]]:
    """Largest singular value of a matrix with its vectors, by power iteration on w^T w.

    Parameters
    ----------
    w : ndarray, [rows, columns]
        The matrix.
    memory : dict, optional
        ``memory["right"]`` is where the iteration starts, if it is there, and is set to where it
        ended: between updates a matrix changes little, and one or two products are enough.
    tolerance : float
        The iteration ends when ||w^T u - sigma v|| <= tolerance * sigma.
    most : int
        Or after so many products.

    Returns
    -------
    sigma : float
        The largest singular value: a lower bound of it, off by tolerance^2 * sigma or so.
    u, v : ndarray, [rows] and [columns]
        Its left and right vector.

    References
    ----------
    Golub & Van Loan, Matrix computations, section 8.2.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties.matrix import leading_singular_vectors
    >>> sigma, u, v = leading_singular_vectors(np.diag([1.0, 3.0]))
    >>> round(sigma, 9), abs(v).round(6).tolist()
    (3.0, [0.0, 1.0])
    """
    start: NDArray[Any] = np.zeros(0) if memory is None else memory.get("right", np.zeros(0))
    if start.shape != (w.shape[1],) or not np.any(start):
        start = np.random.default_rng(0).standard_normal((w.shape[1],))
    v: NDArray[Any] = np.asarray(start / np.linalg.norm(start), w.dtype)
    u: NDArray[Any] = np.zeros(w.shape[0], w.dtype)
    sigma: float = 0.0
    for _ in range(most):
        u = w @ v
        sigma = float(np.linalg.norm(u))
        if sigma == 0 or not np.isfinite(sigma):
            break
        u = u / w.dtype.type(sigma)
        back = w.T @ u
        residual = float(np.linalg.norm(back - w.dtype.type(sigma) * v))
        v = back / np.linalg.norm(back)
        if residual <= tolerance * sigma:
            break
    if memory is not None:
        memory["right"] = v
    return sigma, u, v
