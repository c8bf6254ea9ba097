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

#: Share of a warm start that is drawn anew: a direction that the old vector has no part in may have
#: the larger singular value by now.
NOISE = 0.02

#: Vectors on each side that Lanczos' method keeps before it begins again from the best of them.
BASIS = 20


class MatrixPenalty(Penalty):
    """A penalty of a whole matrix [rows, columns]; ``"weight_hh_l0[*]"`` means each gate's."""

    scope = "matrix"

    def value_and_gradient(
        self, w: NDArray[Any], memory: Memory | None = None
    ) -> tuple[float, NDArray[Any]]:
        """R and dR/dw. What is found by iteration starts from `memory`, which is changed."""
        return self.value(w), self.gradient(w)

    def check(self, name: str, w: NDArray[Any]) -> None:
        """Refuse what is not a matrix of finite numbers.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            Naming the parameter.
        """
        if w.dtype not in (np.float32, np.float64):
            raise TypeError(f"params[{name!r}]: expected dtype float32 or float64, got {w.dtype}")
        if w.ndim != 2:
            raise ValueError(
                f"penalty: expected a matrix for {type(self).__name__}, got {name} of shape "
                f"{w.shape}"
            )
        if not np.isfinite(w).all():
            at = tuple(np.argwhere(~np.isfinite(w))[0].tolist())
            raise FloatingPointError(
                f"params[{name!r}]: expected finite values for {type(self).__name__}, got {w[at]} "
                f"at index {at}"
            )


def leading_singular_vectors(
    w: NDArray[Any],
    memory: Memory | None = None,
    *,
    tolerance: float = 1e-6,
    most: int = 1000,
) -> tuple[float, NDArray[Any], NDArray[Any]]:
    """Largest singular value of a matrix with its vectors, by Lanczos' method.

    Neighbouring singular values of a large random matrix are a few per cent apart. Power iteration
    then needs a thousand products; the best vector in the space that they span needs some tens.

    Parameters
    ----------
    w : ndarray, [rows, columns]
        The matrix.
    memory : dict, optional
        ``memory["right"]`` is where the iteration starts, if it is there, and is set to where it
        ended: between updates a matrix changes little, and a few products are enough.
    tolerance : float
        The iteration ends when ||w^T u - sigma v|| <= tolerance * sigma.
    most : int
        Or after so many products with w and w^T each, at least one.

    Returns
    -------
    sigma : float
        The largest singular value: a lower bound of it, off by tolerance^2 * sigma or so.
    u, v : ndarray, [rows] and [columns]
        Its left and right vector.

    References
    ----------
    Golub & Kahan, Calculating the singular values and pseudo-inverse of a matrix, SIAM J. Numer.
    Anal. 2, 1965; Golub & Van Loan, Matrix computations, section 10.4.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties.matrix import leading_singular_vectors
    >>> sigma, u, v = leading_singular_vectors(np.diag([1.0, 3.0]))
    >>> round(sigma, 9), abs(v).round(6).tolist()
    (3.0, [0.0, 1.0])
    """
    start = np.random.default_rng(0).standard_normal((w.shape[1],))
    start /= np.linalg.norm(start)
    kept = None if memory is None else memory.get("right")
    if kept is not None and kept.shape == start.shape:
        start = kept + NOISE * start
    v: NDArray[Any] = np.asarray(start / np.linalg.norm(start), w.dtype)
    done, arrived = 0, False
    while not arrived:
        sigma, u, v, residual, products = _bidiagonalise(w, v, tolerance, min(BASIS, most - done))
        done += products
        arrived = residual <= tolerance * sigma or done >= most
    if memory is not None:
        memory["right"] = v
    return sigma, u, v


def _bidiagonalise(
    w: NDArray[Any], start: NDArray[Any], tolerance: float, most: int
) -> tuple[float, NDArray[Any], NDArray[Any], float, int]:
    """sigma, u, v of W's part in a space that grows from `start`; their residual, and its size.

    W V = U B and W^T U = V B^T + what is left over, with orthonormal columns in U and V and an
    upper bidiagonal B. Vectors are the rows of `left` and `right` here.
    """
    left = np.zeros((most, w.shape[0]), w.dtype)
    right = np.zeros((most + 1, w.shape[1]), w.dtype)
    b = np.zeros((most, most))
    right[0] = start
    for k in range(most):
        u = w @ right[k]
        u -= (left[:k] @ u) @ left[:k]
        b[k, k] = np.linalg.norm(u)
        if b[k, k] > 0:
            left[k] = u / w.dtype.type(b[k, k])
        v = left[k] @ w
        v -= (right[: k + 1] @ v) @ right[: k + 1]
        over = float(np.linalg.norm(v))
        x, sigma, yt = np.linalg.svd(b[: k + 1, : k + 1])
        residual = over * abs(float(x[k, 0]))
        if residual <= tolerance * sigma[0] or k + 1 == most:
            break
        b[k, k + 1] = over
        right[k + 1] = v / w.dtype.type(over)
    best_u = x[:, 0].astype(w.dtype) @ left[: k + 1]
    best_v = yt[0].astype(w.dtype) @ right[: k + 1]
    return float(sigma[0]), best_u, best_v / np.linalg.norm(best_v), residual, k + 1
