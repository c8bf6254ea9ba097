"""Penalties of a matrix as a whole: of its singular values, or its distance from orthogonal.

They need products of matrices or singular values, which NumPy's linear algebra does, in threads of
its own; `update` adds their gradients in its one pass.
"""

import math
from collections.abc import Callable
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from normrnn import _lanczos
from normrnn.penalties.arrays import Arrays, bind, keep_factors, one_array
from normrnn.penalties.base import Penalty, number, strength_names

#: What is remembered of a matrix between updates: vectors to start an iteration from, and the value
#: that a prox has left.
Memory = dict[str, NDArray[Any]]

#: Share of a warm start that is drawn anew: a direction that the old vector has no part in may have
#: the larger singular value by now.
NOISE = 0.02

#: Vectors on each side that the iteration keeps before it begins again from the best of them.
BASIS = 20


class MatrixPenalty(Penalty):
    """A penalty of a whole matrix [rows, columns]; ``"weight_hh_l0[*]"`` means each gate's.

    Attributes
    ----------
    weights : ndarray, mapping of str to ndarray, or None
        A factor of the strength or bound for each gate; see `for_block`.
    """

    scope = "matrix"
    weights: Arrays = None

    def __post_init__(self) -> None:
        """Check strengths, and check and copy the weights."""
        super().__post_init__()
        keep_factors(self, "weights")

    def for_parameter(self, name: str) -> Self:
        """Return the penalty with the weights of this parameter, if it has some for each."""
        return bind(self, name, "weights")

    def for_block(self, name: str, gate: int, gates: int) -> Self:
        """Return the penalty with the weight of one of a parameter's gates.

        A matrix that has no gates, or whose gates are taken together, is the only one: 0 of 1.

        Raises
        ------
        ValueError
            If there is not one weight for each.
        """
        held = one_array("weights", self.weights)
        if held is None:
            return self
        if held.shape != (gates,):
            kind = f"each of {gates} gates" if gates > 1 else "a whole matrix"
            raise ValueError(
                f"weights[{name}]: expected one for {kind}, shape ({gates},), got {held.shape}"
            )
        block = copy(self)
        object.__setattr__(block, "weights", held[gate : gate + 1])
        return block

    def weighted(self, name: str) -> float:
        """Return a strength or bound times the matrix's own weight."""
        held = one_array("weights", self.weights)
        if held is not None and held.shape != (1,):
            raise ValueError(f"weights: expected one for a matrix, shape (1,), got {held.shape}")
        return number(self, name) * (1.0 if held is None else float(held[0]))

    def prox_and_size(
        self, w: NDArray[Any], step: float | NDArray[Any]
    ) -> tuple[NDArray[Any], float | None]:
        """Return the prox, and R / strength of it where that comes with it."""
        return self.prox(w, step), None

    def value_and_gradient(
        self, w: NDArray[Any], memory: Memory | None = None
    ) -> tuple[float, NDArray[Any]]:
        """R and dR/dw. What is found by iteration starts from `memory`, which is changed."""
        return self.value(w), self.gradient(w)

    def check(self, name: str, w: NDArray[Any], first: int = 0) -> None:
        """Refuse what is not a matrix of finite numbers: rows of `name` from `first` on.

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
        most = float(np.finfo(w.dtype).max) / 2
        for field in strength_names(type(self)):
            if not self.constraint and self.weighted(field) > most:
                raise ValueError(
                    f"penalty of {name}: expected numbers of at most {most} for {w.dtype}, got "
                    f"{self.weighted(field)}"
                )
        if not np.isfinite(w).all():
            row, column = np.argwhere(~np.isfinite(w))[0].tolist()
            raise FloatingPointError(
                f"params[{name!r}]: expected finite values for {type(self).__name__}, got "
                f"{w[row, column]} at index {(first + row, column)}"
            )


def with_singular_values(
    w: NDArray[Any], change: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return a matrix with other singular values, and those: change(sigma), by decomposition.

    The prox of any function of the singular values is one on them.
    """
    u, sigma, vt = np.linalg.svd(w, full_matrices=False)
    changed = change(sigma.astype(np.float64))
    moved: NDArray[Any] = (u * changed.astype(w.dtype)) @ vt
    return moved, changed


def one_step(penalty: Penalty, step: float | NDArray[Any]) -> float:
    """Return the step size; refuse one for each weight, where there is no closed form.

    Raises
    ------
    ValueError
        If it is an array.
    """
    if np.ndim(step):
        raise ValueError(f"step: expected one number for {type(penalty).__name__}, got an array")
    return float(step)


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
    # Squares of float32 numbers vanish below 1e-23 and are infinite from 2e19 on.
    largest = max(float(w.max(initial=0)), -float(w.min(initial=0)))
    exponent = 0 if 1e-9 <= largest <= 1e9 else math.frexp(largest)[1]
    if exponent:
        w = np.ldexp(w, -exponent)
    start = _lanczos.unit(np.random.default_rng(0).standard_normal((w.shape[1],)))
    kept = None if memory is None else memory.get("right")
    warm = False
    if kept is not None and kept.shape == start.shape:
        start, warm = kept + NOISE * start, True
    done = 0
    while True:
        found = _lanczos.leading_singular_vectors(
            w, start, tolerance, min(BASIS, most - done), warm=warm
        )
        done += found.products
        if found.residual <= tolerance * found.sigma or done >= most:
            break
        start, warm = found.v, True
    if memory is not None:
        memory["right"] = found.v
    with np.errstate(over="ignore"):
        return float(np.ldexp(found.sigma, exponent)), found.u, found.v
