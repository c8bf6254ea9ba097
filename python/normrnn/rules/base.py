"""What every update rule offers: how a gradient becomes a step.

A rule is a frozen dataclass in a file of this package. Its hyper-parameters are checked when it is
made; what it remembers between steps lives in slots, arrays of the weight's shape that begin at 0.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from numpy.typing import NDArray

from normrnn._registry import concrete_subclasses


class Rule(ABC):
    """A rule w <- w - delta(g), element by element; g holds a penalty's gradient already.

    Attributes
    ----------
    slots : tuple of str
        Names of the arrays that the rule keeps for each parameter, in the C++ kernel's order.
    decoupled : bool
        True if a penalty's gradient bypasses the rule and is subtracted as prox_step * dR/dw.
    uniform_step : bool
        True if a prox has the same step size for every weight.
    lr : float
        Step size.
    prox_step : float
        A prox's step size, if `uniform_step`: what delta tends to under a constant gradient of 1,
        so that loss and penalty are weighed as in their sum.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    lr: float

    @property
    @abstractmethod
    def kernel(self) -> str:
        """Name of the C++ kernel, as in rules.def; a class attribute will do."""

    @property
    def decoupled(self) -> bool:
        """Whether a penalty's gradient bypasses the rule; no, unless a rule says so."""
        return False

    @property
    def uniform_step(self) -> bool:
        """Whether a prox has the same step size at every weight; yes, unless a rule says no."""
        return True

    @property
    def prox_step(self) -> float:
        """The step size of a prox, where it is uniform: lr, unless a rule says otherwise."""
        return self.lr

    @abstractmethod
    def scalars(self, step: int) -> tuple[float, ...]:
        """Return the numbers that the C++ kernel gets at the given step, counted from 1."""

    @abstractmethod
    def step(
        self, w: NDArray[Any], g: NDArray[Any], slots: dict[str, NDArray[Any]], t: int
    ) -> tuple[NDArray[Any], float | NDArray[Any]]:
        """Turn a gradient into a step: the definition that the C++ kernel is tested against.

        Parameters
        ----------
        w : ndarray
            The weights before the step; left unchanged.
        g : ndarray of w's shape
            Their gradient.
        slots : dict of str to ndarray of w's shape
            What the rule remembers, under the names in `Rule.slots`; changed in place.
        t : int
            The number of this step, counted from 1.

        Returns
        -------
        delta : ndarray of w's shape
            What to subtract from w.
        prox_step : float or ndarray of w's shape
            The step size for a proximal step or a decoupled penalty.
        """


def check_rule(rule: object) -> None:
    """Refuse what is no rule."""
    if not isinstance(rule, Rule):
        raise TypeError(f"rule: expected a rule such as SGD(0.1), got {type(rule).__name__}")


def registry() -> dict[str, type[Rule]]:
    """Class name and class of every rule there is.

    Examples
    --------
    >>> from normrnn.rules import registry
    >>> registry()["SGD"](lr=0.1)
    SGD(lr=0.1)
    """
    return concrete_subclasses(Rule)  # type: ignore[type-abstract]
