"""Momentum: Polyak's heavy ball and Nesterov's variant."""

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from normrnn._numbers import check_fields, flag, fraction, non_negative
from normrnn.rules.base import Rule


@dataclass(frozen=True)
class Momentum(Rule):
    """v <- momentum * v + g, then w <- w - lr * v; Nesterov: w <- w - lr * (g + momentum * v).

    The same as torch.optim.SGD with ``momentum`` and ``nesterov``, dampening 0.

    Parameters
    ----------
    lr : float
        Step size >= 0.
    momentum : float
        What is left of the velocity v after a step, in [0, 1).
    nesterov : bool
        Look one step ahead along the velocity.

    Raises
    ------
    TypeError, ValueError
        If lr is not a finite number >= 0, momentum not one in [0, 1), or nesterov not a bool.

    References
    ----------
    Polyak, USSR Comput. Math. Math. Phys. 4(5), 1964; Nesterov, Soviet Math. Dokl. 27, 1983.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.rules import Momentum
    >>> slots = {"velocity": np.array([2.0])}
    >>> delta, _ = Momentum(lr=0.5, momentum=0.5).step(np.array([1.0]), np.array([4.0]), slots, t=2)
    >>> delta.tolist(), slots["velocity"].tolist()
    ([2.5], [5.0])
    """

    lr: float
    momentum: float = 0.9
    nesterov: bool = False
    slots: ClassVar[tuple[str, ...]] = ("velocity",)
    kernel = "momentum"

    def __post_init__(self) -> None:
        """Check the hyper-parameters."""
        check_fields(self, lr=non_negative, momentum=fraction, nesterov=flag)

    def scalars(self, step: int) -> tuple[float, ...]:
        """(lr, momentum, prox_step, whether Nesterov's as 0 or 1)."""
        return (self.lr, self.momentum, self.prox_step, float(self.nesterov))

    @property
    def prox_step(self) -> float:
        """Lr / (1 - momentum): the velocity of a constant g tends to g / (1 - momentum)."""
        return self.lr / (1 - self.momentum)

    def step(
        self, w: NDArray[Any], g: NDArray[Any], slots: dict[str, NDArray[Any]], t: int
    ) -> tuple[NDArray[Any], float | NDArray[Any]]:
        """Delta = lr * v, or lr * (g + momentum * v), with the new v."""
        v = slots["velocity"]
        v[...] = self.momentum * v + g
        direction = g + self.momentum * v if self.nesterov else v
        return self.lr * direction, self.prox_step
