"""What every penalty R(w) of a weight array offers, and the wrapper that asks for its prox.

A penalty is a frozen dataclass in a file of its own in this package. Its float fields are its
strengths: they are checked here, and reach the C++ kernel in the order in which they are declared.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, get_type_hints

from numpy.typing import NDArray

from normrnn._numbers import check_fields, non_negative
from normrnn._registry import concrete_subclasses


class Penalty(ABC):
    """A function R of one weight array, added to the loss: the objective is L + R.

    The NumPy methods are the definition that the C++ kernel is tested against. All of them accept
    an array of any shape and leave it unchanged; arrays they return have its shape and dtype.
    """

    @property
    @abstractmethod
    def kernel(self) -> str:
        """Name of the C++ kernel, as in penalties.def; a class attribute will do."""

    @abstractmethod
    def value(self, w: NDArray[Any]) -> float:
        """R(w), summed in float64."""

    @abstractmethod
    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """dR/dw; at a kink the subgradient of least size."""

    @abstractmethod
    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """Proximal step: argmin over u of sum(step * r(u) + (u - w)^2 / 2), with R(u) = sum r(u).

        Parameters
        ----------
        w : ndarray
            Where the step starts.
        step : float or ndarray of w's shape
            Step size >= 0, for all coordinates or for each.
        """

    def __post_init__(self) -> None:
        """Refuse a strength that is negative, infinite or NaN."""
        check_fields(self, **dict.fromkeys(_float_fields(type(self)), non_negative))

    def scalars(self) -> tuple[float, ...]:
        """Return the numbers that the C++ kernel gets: the float fields in their order."""
        return tuple(getattr(self, name) for name in _float_fields(type(self)))

    def for_parameter(self, name: str) -> "Penalty":
        """Return this penalty as it applies to the parameter `name`: itself, unless it differs."""
        return self

    def center_for(self, name: str, w: NDArray[Any]) -> NDArray[Any] | None:
        """Return the point that R draws the parameter `name` towards, or None for zero.

        Raises
        ------
        TypeError, ValueError
            If there is no centre for this name, or not of w's dtype and shape.
        """
        return None


@cache  # looking hints up takes longer than the whole update of a small network
def _float_fields(cls: type[Penalty]) -> tuple[str, ...]:
    hints = get_type_hints(cls)
    return tuple(f.name for f in fields(cls) if hints[f.name] is float)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Prox:
    """Apply a penalty as an exact proximal step after the rule's step, not through the gradient.

    The rule steps along dL/dw alone to a point w', then w = argmin_u alpha R(u) + ||u - w'||^2 / 2.
    For L1 this makes weights exactly zero, which a subgradient step does not. alpha is the rule's
    lr; under Adam it is lr / (sqrt(v^) + eps), per coordinate.

    Parameters
    ----------
    penalty : Penalty
        The R to take the step for.

    References
    ----------
    Parikh & Boyd, Proximal algorithms, Foundations and Trends in Optimization 1(3), 2014.

    Examples
    --------
    >>> from normrnn.penalties import L1, Prox
    >>> Prox(L1(0.5))
    Prox(penalty=L1(strength=0.5))
    """

    penalty: Penalty

    def __post_init__(self) -> None:
        """Refuse what is not a penalty."""
        if not isinstance(self.penalty, Penalty):
            raise TypeError(f"penalty: expected a Penalty, got {type(self.penalty).__name__}")


def registry() -> dict[str, type[Penalty]]:
    """Class name and class of every penalty there is.

    Examples
    --------
    >>> from normrnn.penalties import registry
    >>> registry()["L1"](0.5)
    L1(strength=0.5)
    """
    return concrete_subclasses(Penalty)  # type: ignore[type-abstract]
