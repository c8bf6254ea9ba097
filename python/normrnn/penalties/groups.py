"""What penalties and constraints on the norms of groups of weights share."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import NDArray

from normrnn._heads import HEADS, head_names
from normrnn.penalties.arrays import Arrays, bind, keep_factors, one_array
from normrnn.penalties.base import ElementwisePenalty, Penalty, number

#: Which weights have a norm together. The last two are resolved within a network (see resolve.py):
#: each gate's block becomes a "matrix", and outgoing weights become "columns" of several arrays.
GROUPS = ("rows", "columns", "matrix", "gates", "outgoing")
AXIS: dict[str, tuple[int, ...]] = {"rows": (1,), "columns": (0,), "matrix": (0, 1)}

#: Squares of large float64 numbers are infinite; those of the numbers times this are not.
SCALE = 2.0**-600


class GroupPenalty(Penalty):
    """R(w) = sum over groups g of r(||w_g||).

    An array is looked at as a matrix whose columns are its last dimension; a vector is one row.

    Attributes
    ----------
    groups : str
        One of "rows", "columns", "matrix", "gates", "outgoing".
    weights : ndarray, mapping of str to ndarray, or None
        A factor for each group, in the order of the rows or columns.
    heads : sequence of str
        For "outgoing": what reads the last layer.
    zero_weights : bool
        Whether a weight may be 0.
    """

    groups: str
    weights: Arrays
    heads: Sequence[str]
    kernel: ClassVar[str]
    zero_weights: ClassVar[bool] = True
    scope = "group"

    def __post_init__(self) -> None:
        """Check strengths, groups, weights and heads."""
        super().__post_init__()
        if not isinstance(self.groups, str) or self.groups not in GROUPS:
            expected = ", ".join(map(repr, GROUPS))
            raise ValueError(f"groups: expected one of {expected}, got {self.groups!r}")
        keep_factors(self, "weights", zero=self.zero_weights)
        heads = head_names(self.heads)
        if self.groups != "outgoing" and heads != HEADS:
            raise ValueError(f"heads: expected none beside groups={self.groups!r}, got {heads}")
        object.__setattr__(self, "heads", heads)

    def for_parameter(self, name: str) -> Self:
        """Return the penalty with the weights of this parameter, if it has some for each.

        Groups of several arrays have theirs under the name of one of them; see `group_sets`.
        """
        return self if self.groups == "outgoing" else bind(self, name, "weights")

    @property
    @abstractmethod
    def group_strength(self) -> str | None:
        """The field that is each group's strength or bound, times its weight; None for 1."""

    def weights_of(self, sizes: NDArray[Any]) -> NDArray[np.float64]:
        """Return each group's weight, of groups with so many weights each: `weights`, if given."""
        held = one_array("weights", self.weights)
        if held is None:
            return self.usual_weights(sizes)
        if held.shape != sizes.shape:
            raise ValueError(
                f"weights: expected one for each of {sizes.size} groups, shape "
                f"{sizes.shape}, got {held.shape}"
            )
        return held.astype(np.float64)

    def usual_weights(self, sizes: NDArray[Any]) -> NDArray[np.float64]:
        """Return each group's weight where none are given."""
        return np.ones(sizes.shape)

    @final
    def strengths(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each group's strength or bound, of groups of these weights."""
        own = 1.0 if self.group_strength is None else number(self, self.group_strength)
        return own * weights

    def value_of(self, norms: NDArray[Any], strengths: NDArray[Any]) -> float:
        """Sum of r over groups with these norms; 0 for a constraint."""
        return 0.0

    def pull_of(self, norms: NDArray[Any], strengths: NDArray[Any]) -> NDArray[Any]:
        """r'(norm) / norm for each group: the gradient is this times the weights."""
        return np.zeros_like(norms)

    @abstractmethod
    def factor_of(self, norms: NDArray[Any], strengths: NDArray[Any], step: float) -> NDArray[Any]:
        """Return what the prox multiplies each group by."""

    def elementwise(self) -> ElementwisePenalty | None:
        """Return the part of R that is a penalty of each weight, or None."""
        return None

    def value(self, w: NDArray[Any]) -> float:
        """R = sum r(||w_g||)."""
        matrix, strengths = self._matrix(w)
        inner = self.elementwise()
        own = self.value_of(norms_of(matrix, self.groups), strengths)
        return own + (inner.value(w) if inner else 0.0)

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """dR/dw = r'(||w_g||) w / ||w_g||, which is 0 for a group of zeros."""
        matrix, strengths = self._matrix(w)
        norms = norms_of(matrix, self.groups)
        pull = spread(held(self.pull_of, w.dtype, norms, strengths), self.groups)
        gradient: NDArray[Any] = (pull * matrix).reshape(w.shape).astype(w.dtype)
        inner = self.elementwise()
        return gradient + inner.gradient(w) if inner else gradient

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """Each group times its factor, which comes from its norm."""
        inner = self.elementwise()
        matrix, strengths = self._matrix(inner.prox(w, step) if inner else w)
        if self.constraint or np.ndim(step) == 0:
            size = float(np.ravel(step)[0]) if np.size(step) else 0.0
            norms = norms_of(matrix, self.groups)
            factor = held(self.factor_of, w.dtype, norms, strengths, size)
            moved = spread(factor, self.groups) * matrix
        else:
            steps = np.reshape(step, matrix.shape)
            moved = prox_of_norms(matrix, steps, spread(strengths, self.groups), self.groups)
        result: NDArray[Any] = moved.reshape(w.shape).astype(w.dtype)
        return result

    def _matrix(self, w: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.groups not in AXIS:
            raise ValueError(
                f"groups: expected {', '.join(map(repr, AXIS))} for one array (see resolve), "
                f"got {self.groups!r}"
            )
        matrix = as_matrix(w).astype(np.float64)
        sizes = np.sum(np.ones_like(matrix), axis=AXIS[self.groups], keepdims=True).ravel()
        return matrix, self.strengths(self.weights_of(sizes))


def as_matrix(w: NDArray[Any]) -> NDArray[Any]:
    """Return w as [rows, columns], its last dimension being the columns."""
    columns = w.shape[-1] if w.ndim else 1
    return w.reshape(w.size // columns if columns else 0, columns)


def norms_of(matrix: NDArray[Any], groups: str) -> NDArray[np.float64]:
    """Return the norm of each group of a matrix, in float64."""

    def squares(factor: float) -> NDArray[np.float64]:
        scaled = np.multiply(matrix, factor, dtype=np.float64)
        return np.ravel(np.sum(np.square(scaled), axis=AXIS[groups]))

    return roots(squares)


def roots(squares: Callable[[float], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return norms from a function to the sums of squares of all numbers times a factor."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms: NDArray[np.float64] = np.sqrt(squares(1.0))
        if not np.isfinite(norms).all():
            norms = np.where(np.isfinite(norms), norms, np.sqrt(squares(SCALE)) / SCALE)
    return norms


def held(
    factors: Callable[..., NDArray[Any]], dtype: np.dtype[Any], *arguments: Any
) -> NDArray[Any]:
    """Return factors of groups as a dtype holds them: those beyond it are the most there is.

    Next to nothing divides a strength or a bound to more than that.
    """
    with np.errstate(over="ignore"):
        found: NDArray[Any] = np.minimum(factors(*arguments), float(np.finfo(dtype).max))
    return found


def spread(values: NDArray[Any], groups: str) -> NDArray[Any]:
    """Return one value a group in a shape that broadcasts to the matrix."""
    return values[:, None] if groups == "rows" else values[None, :]


def prox_of_norms(
    w: NDArray[Any], steps: NDArray[Any], strengths: NDArray[Any], groups: str
) -> NDArray[Any]:
    """Prox of strength * ||w_g|| where each weight has a step size of its own.

    u = w root / (root + strength * step), with the root = ||u|| that solves sum of
    (w / (root + strength * step))^2 = 1, or u = 0 if that sum is at most 1 at 0. Bisection.
    """
    axis = AXIS[groups]

    def excess(root: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            squares = np.square(w / (root + strengths * steps))
            over: NDArray[Any] = np.nansum(squares, axis=axis, keepdims=True) - 1
            return over

    norms = spread(norms_of(w, groups), groups)
    low, high = np.zeros_like(norms), norms.copy()
    dead = excess(low) <= 0
    for _ in range(200):
        middle = (low + high) / 2
        above = excess(middle) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = w * (low / (low + strengths * steps))
    return np.where(dead & (strengths > 0), 0.0, np.where(strengths * steps > 0, moved, w))
