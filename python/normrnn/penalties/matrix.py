"""Penalties of a matrix as a whole: of its singular values, or its distance from orthogonal.

They need products of matrices or singular values, which NumPy's linear algebra does; `update` adds
their gradients in its one pass.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn import _lanczos
from normrnn.penalties.base import Penalty

#: What a penalty remembers of a parameter between updates: vectors to start an iteration from.
Memory = dict[str, NDArray[Any]]

#: Share of a warm start that is drawn anew: a direction that the old vector has no part in may have
#: the larger singular value by now.
NOISE = 0.02

#: Vectors on each side that the iteration keeps before it begins again from the best of them.
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
    """Largest singular value of a matrix with its vectors, warm-started between updates.

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

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties.matrix import leading_singular_vectors
    >>> sigma, u, v = leading_singular_vectors(np.diag([1.0, 3.0]))
    >>> round(sigma, 9), abs(v).round(6).tolist()
    (3.0, [0.0, 1.0])
    """
    start = _lanczos.unit(np.random.default_rng(0).standard_normal((w.shape[1],)))
    kept = None if memory is None else memory.get("right")
    if kept is not None and kept.shape == start.shape:
        start = kept + NOISE * start
    done = 0
    while True:
        found = _lanczos.leading_singular_vectors(w, start, tolerance, min(BASIS, most - done))
        done += found.products
        if found.residual <= tolerance * found.sigma or done >= most:
            break
        start = found.v
    if memory is not None:
        memory["right"] = found.v
    return found.sigma, found.u, found.v
