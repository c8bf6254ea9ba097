"""Squared L2, towards zero or towards a centre."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties.base import Penalty


@dataclass(frozen=True)
class L2(Penalty):
    """R(w) = strength * ||w - center||^2, with centre zero by default.

    There is no 1/2 in front, so the gradient is 2 * strength * w: a ``weight_decay`` that adds
    wd * w to the gradient, as in torch.optim.SGD, is strength = wd / 2.

    Parameters
    ----------
    strength : float
        Factor >= 0 of the square.
    center : ndarray, mapping of str to ndarray, or None
        What the weights are drawn towards: an array of w's shape and dtype, or one for each
        parameter name (every name that the penalty applies to must be there). It is copied, so
        ``center=params`` means the weights as they are now, and stays when they move.

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
    """

    strength: float
    center: NDArray[Any] | Mapping[str, NDArray[Any]] | None = None
    kernel = "l2"  # with a centre too: the kernel takes none as zero

    def __post_init__(self) -> None:
        """Check the strength and take a copy of the centre, which must not follow the weights."""
        super().__post_init__()
        if isinstance(self.center, Mapping):
            copies = {name: _frozen_copy(name, a) for name, a in self.center.items()}
            object.__setattr__(self, "center", copies)
        elif self.center is not None:
            object.__setattr__(self, "center", _frozen_copy(None, self.center))

    def value(self, w: NDArray[Any]) -> float:
        """R = strength * sum (w - center)^2."""
        return self.strength * float(np.sum(np.square(w - self._center(), dtype=np.float64)))

    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """dR/dw = 2 * strength * (w - center)."""
        gradient: NDArray[Any] = 2 * self.strength * (w - self._center())
        return gradient

    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """(w + 2 * step * strength * center) / (1 + 2 * step * strength)."""
        pull = 2 * step * self.strength
        moved: NDArray[Any] = (w + pull * self._center()) / (1 + pull)
        return moved

    def for_parameter(self, name: str) -> "L2":
        """Return the penalty with the centre of this parameter, if it has one for each.

        Raises
        ------
        ValueError
            If the mapping has no centre for the name.
        """
        if not isinstance(self.center, Mapping):
            return self
        if name not in self.center:
            raise ValueError(f"center: expected an array for {name}, got {sorted(self.center)}")
        bound = copy(self)  # not through __init__, which would copy the array at every update
        object.__setattr__(bound, "center", self.center[name])
        return bound

    def center_for(self, name: str, w: NDArray[Any]) -> NDArray[Any] | None:
        """Return the centre for this parameter, of w's shape and dtype; None for zero."""
        center = self.for_parameter(name).center
        if center is None:
            return None
        assert isinstance(center, np.ndarray)  # for_parameter looked the name up
        if center.dtype != w.dtype:
            raise TypeError(f"center[{name}]: expected dtype {w.dtype}, got {center.dtype}")
        if center.shape != w.shape:
            raise ValueError(f"center[{name}]: expected shape {w.shape}, got {center.shape}")
        return center

    def _center(self) -> NDArray[Any] | float:
        if isinstance(self.center, Mapping):
            raise ValueError("center: expected one array (see for_parameter), got a mapping")
        return 0.0 if self.center is None else self.center


def _frozen_copy(name: str | None, center: object) -> NDArray[Any]:
    if not isinstance(center, np.ndarray):
        argument = "center" if name is None else f"center[{name}]"
        raise TypeError(f"{argument}: expected an ndarray, got {type(center).__name__}")
    frozen = np.array(center, order="C")
    frozen.flags.writeable = False
    return frozen
