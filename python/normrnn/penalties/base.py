"""What every penalty R(w) of a weight array offers, and the wrapper that asks for its prox.

A penalty is a frozen dataclass in a file of its own in this package. Its fields of type `Strength`
are checked here, and reach a C++ kernel in the order in which they are declared. Kinds: of each
weight (`ElementwisePenalty`), of the norms of groups (groups.py), of a matrix (matrix.py).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, Self, TypeAlias, final, get_type_hints

import numpy as np
from numpy.typing import NDArray

from normrnn._numbers import non_negative
from normrnn._registry import concrete_subclasses

#: A number >= 0, or a function from the number of the update, counted from 1, to one.
Strength: TypeAlias = float | Callable[[int], float]


class Penalty(ABC):
    """A function R of one weight array, added to the loss: the objective is L + R.

    The NumPy methods are the definition that the C++ kernels are tested against. All of them accept
    an array of any shape and leave it unchanged; arrays they return have its shape and dtype.

    Attributes
    ----------
    constraint : bool
        True if R is 0 where the weights may be and infinite elsewhere: it has no gradient, and its
        prox is the projection, whatever the step. It needs no ``Prox`` around it.
    has_prox : bool
        Whether there is an exact proximal step.
    scope : str
        "weight", "group" or "matrix": what R is a function of.
    """

    constraint: ClassVar[bool] = False
    scope: ClassVar[str]
    has_prox: ClassVar[bool] = True

    @abstractmethod
    def value(self, w: NDArray[Any]) -> float:
        """R(w), summed in float64."""

    @abstractmethod
    def gradient(self, w: NDArray[Any]) -> NDArray[Any]:
        """dR/dw; at a kink the subgradient of least size."""

    @abstractmethod
    def prox(self, w: NDArray[Any], step: float | NDArray[Any]) -> NDArray[Any]:
        """Proximal step: argmin over u of step * R(u) + ||u - w||^2 / 2.

        Parameters
        ----------
        w : ndarray
            Where the step starts.
        step : float or ndarray of w's shape
            Step size >= 0; one for each coordinate h means argmin R(u) + sum (u - w)^2 / (2 h).
        """

    def __post_init__(self) -> None:
        """Refuse a strength that is negative, infinite or NaN."""
        for name in strength_names(type(self)):
            given = getattr(self, name)
            if not callable(given):
                object.__setattr__(self, name, non_negative(name, given))

    def at(self, step: int) -> Self:
        """Return this penalty as it is at an update, counted from 1: with numbers for functions."""
        if not self.is_scheduled:
            return self
        return self.with_strengths(self.strengths_at(step))

    @property
    def is_scheduled(self) -> bool:
        """Whether a strength is a function of the step."""
        return any(callable(getattr(self, name)) for name in strength_names(type(self)))

    def strengths_at(self, step: int) -> dict[str, float]:
        """Return all strengths by name, in their order, as they are at an update; checked."""
        strengths = {}
        for name in strength_names(type(self)):
            given = getattr(self, name)
            if callable(given):
                given = non_negative(f"{name} at step {step}", given(step))
            strengths[name] = given
        return strengths

    def with_strengths(self, strengths: Mapping[str, float]) -> Self:
        """Return this penalty with numbers as of `strengths_at`, and all else as it is."""
        now = copy(self)  # not `replace`, which would copy and check the arrays again
        for name, strength in strengths.items():
            object.__setattr__(now, name, strength)
        return now

    def for_parameter(self, name: str) -> Self:
        """Return this penalty as it applies to the parameter `name`: itself, unless it differs.

        Strengths are the same for all parameters.
        """
        return self


class ElementwisePenalty(Penalty):
    """R(w) = sum r(w_i): the C++ kernel takes it in the pass over memory that the update is."""

    scope = "weight"

    @property
    @abstractmethod
    def kernel(self) -> str:
        """Name of the C++ kernel, as in penalties.def; a class attribute will do."""

    @final
    def scalars(self) -> tuple[float, ...]:
        """Return the numbers that the C++ kernel gets: the strengths in their order."""
        return tuple(getattr(self, name) for name in strength_names(type(self)))

    def center_for(self, name: str, w: NDArray[Any]) -> NDArray[Any] | None:
        """Return the point that R draws the parameter `name` towards, or None for zero.

        It follows from the name and from w's shape and dtype, so that it is asked for once.

        Raises
        ------
        TypeError, ValueError
            If there is no centre for this name, or not of w's dtype and shape.
        """
        return None

    def weights_for(self, name: str, w: NDArray[Any]) -> NDArray[Any] | None:
        """Return what each coordinate's strengths are multiplied by, of w's shape; None for 1."""
        return None


@cache  # looking hints up takes longer than the whole update of a small network
def strength_names(cls: type[Penalty]) -> tuple[str, ...]:
    """Names of a penalty's fields of type `Strength`, in their order."""
    hints = get_type_hints(cls)
    return tuple(f.name for f in fields(cls) if hints[f.name] == Strength)  # type: ignore[arg-type]


def number(penalty: Penalty, name: str) -> float:
    """Return a strength that must be a number by now."""
    strength = getattr(penalty, name)
    if callable(strength):
        raise ValueError(f"{name}: expected a number (see at), got a function of the step")
    return float(strength)


def total(values: NDArray[Any]) -> float:
    """Sum in float64."""
    return float(np.sum(values, dtype=np.float64))


@dataclass(frozen=True)
class Prox:
    """Apply a penalty as an exact proximal step after the rule's step, not through the gradient.

    The rule steps along dL/dw alone to a point w', then w = argmin_u alpha R(u) + ||u - w'||^2 / 2.
    For L1 this makes weights exactly zero, which a subgradient step does not. alpha is the rule's
    lr; under Momentum it is lr / (1 - momentum), under Adam lr / (sqrt(v^) + eps), per coordinate.
    AdamW's is lr although its step is lr m^ / (sqrt(v^) + eps): there lambda is weighed against a
    normalised gradient, and what comes out is not the minimum of L + R.

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
    >>> Prox(L1(0.5)).penalty.strength
    0.5
    """

    penalty: Penalty

    def __post_init__(self) -> None:
        """Refuse what is not a penalty, and one without a prox."""
        if not isinstance(self.penalty, Penalty):
            raise TypeError(f"penalty: expected a Penalty, got {type(self.penalty).__name__}")
        if not self.penalty.has_prox:
            raise ValueError(
                f"penalty: expected one with a proximal step, got {type(self.penalty).__name__}"
            )


def registry() -> dict[str, type[Penalty]]:
    """Class name and class of every penalty there is.

    Examples
    --------
    >>> from normrnn.penalties import registry
    >>> registry()["L1"](0.5).strength
    0.5
    """
    return concrete_subclasses(Penalty)  # type: ignore[type-abstract]
