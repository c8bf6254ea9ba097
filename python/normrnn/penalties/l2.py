"""Squared L2, towards zero or towards a centre."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties.arrays import Arrays, bind, factors_for, keep, keep_factors, one_array
from normrnn.penalties.base import ElementwisePenalty, Strength, number, total


@dataclass(frozen=True)
class L2(ElementwisePenalty):
    """R(w) = strength * ||w - center||^2, with centre zero by default.

    There is no 1/2 in front, so the gradient is 2 * strength * w: a ``weight_decay`` that adds
    wd * w to the gradient, as in torch.optim.SGD, is strength = wd / 2.

    Parameters
    ----------
    strength : float or callable
        Factor >= 0 of the square, or a function from the number of the update to one.
    center : ndarray, mapping of str to ndarray, "identity", or None
        What the weights are drawn towards: an array of w's shape and dtype, or one for each
        parameter name (every name that the penalty applies to must be there). It is copied, so
        ``center=params`` means the weights as they are now, and stays when they move. "identity"
        is the identity matrix, one for each gate of a ``weight_hh``.
    weights : ndarray, mapping of str to ndarray, or None
        A factor >= 0 of the strength for each weight; see `L1`.

    References
    ----------
    Hoerl & Kennard, Ridge regression, Technometrics 12, 1970. With a centre: Li, Grandvalet &
    Davoine, arXiv:1802.01483.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties import L2
    >>> penalty, w = L2(0.5), np.array([3.0, -1.0])
    >>> penalty.value(w), penalty.gradient(w).tolist(), penalty.prox(w, step=1.0).tolist()
    (5.0, [3.0, -1.0], [1.5, -0.5])
    >>> L2(0.5, center=np.array([1.0, -1.0])).gradient(w).tolist()
    [2.0, 0.0]
    >>> L2(0.5, center="identity").value(np.eye(3))
    0.0
    """

    strength: Strength
    center: Arrays | Literal["identity"] = None
    weights: Arrays = None
    kernel = "l2"  # with a centre too: the kernel takes none as zero

    def __post_init__(self) -> None:
        """Check the strength and copy the arrays, which must not follow the weights."""
        super().__post_init__()
        if isinstance(self.center, str):
            if self.center != "identity":
                raise ValueError(f"center: expected an array or 'identity', got {self.center!r}")
        else:
            keep(self, "center")
        keep_factors(self, "weights")

    def value(self, w: NDArray[Any]) -> float:
        """R = strength * sum weights * (w - center)^2."""
        return total(self._strength() * np.square((w - self._center(w)).astype(np.float64)))

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """dR/dw = 2 * strength * weights * (w - center)."""
        gradient: NDArray[Any] = 2 * self._strength() * (w - self._center(w))
        return gradient

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """(w + 2 * a * center) / (1 + 2 * a) with a = step * strength * weights."""
        pull = 2 * step * self._strength()
        moved: NDArray[Any] = (w + pull * self._center(w)) / (1 + pull)
        return moved

    def for_parameter(self, name: str) -> "L2":
        """Return the penalty with this parameter's centre and weights, if it has one for each.

        Raises
        ------
        ValueError
            If a mapping has nothing for the name.
        """
        return bind(self, name, "center", "weights")

    def center_for(self, name: str, w: NDArray[Any]) -> NDArray[Any] | None:
        """Return the centre for this parameter, of w's shape and dtype; None for zero."""
        if self.center is None:
            return None
        if isinstance(self.center, str):
            if w.ndim != 2 or not w.shape[1] or w.shape[0] % w.shape[1]:
                raise ValueError(
                    f"center: expected a stack of square matrices for 'identity', "
                    f"got {name} of shape {w.shape}"
                )
            return _identity(w.shape[0], w.shape[1], w.dtype)
        center = bind(self, name, "center").center
        assert isinstance(center, np.ndarray)  # bind looked the name up
        if center.dtype != w.dtype:
            raise TypeError(f"center[{name}]: expected dtype {w.dtype}, got {center.dtype}")
        if center.shape != w.shape:
            raise ValueError(f"center[{name}]: expected shape {w.shape}, got {center.shape}")
        return center

    def weights_for(self, name: str, w: NDArray[Any]) -> NDArray[Any] | None:
        """Return the weights for this parameter, of w's shape and dtype; None for 1."""
        if self.weights is None:
            return None
        return factors_for(self, "weights", name, w, w.shape)

    def _center(self, w: NDArray[Any]) -> NDArray[Any] | float:
        if isinstance(self.center, str):
            center = self.center_for("w", w)
        else:
            center = one_array("center", self.center)
        return 0.0 if center is None else center

    def _strength(self) -> Any:
        held, strength = one_array("weights", self.weights), number(self, "strength")
        return strength if held is None else strength * held


@lru_cache(maxsize=16)
def _identity(rows: int, columns: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    stack = np.tile(np.eye(columns, dtype=dtype), (rows // columns, 1))
    stack.flags.writeable = False
    return stack
