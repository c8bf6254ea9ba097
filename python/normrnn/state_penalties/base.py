"""What every penalty on hidden states offers.

A state penalty is a frozen dataclass in a file of its own in this package. Its fields are numbers
that reach the C++ kernel in the order in which they are declared, `strength` first.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normrnn._numbers import check_fields, non_negative
from normrnn._registry import concrete_subclasses

Array = NDArray[Any]

LARGEST = 1e38  # twice that is still a number of float32


@dataclass(frozen=True)
class StatePenalty(ABC):
    """A penalty that `backward` adds to the loss, on one direction of one layer.

    Parameters
    ----------
    strength : float
        Factor >= 0.
    """

    strength: float

    everywhere: ClassVar[bool] = True
    """Whether it applies to every layer where none is named, or to the last one only."""
    cells: ClassVar[tuple[str, ...] | None] = None
    """The only cells that it is for; None for all."""

    @property
    @abstractmethod
    def kernel(self) -> str:
        """Name of the term in the C++ core; a class attribute will do."""

    def __post_init__(self) -> None:
        """Refuse a strength that is negative, infinite, NaN or too large for float32."""
        check_fields(self, strength=non_negative)
        if self.strength > LARGEST:
            raise ValueError(f"strength: expected a number <= 1e38, got {self.strength}")

    def scalars(self) -> tuple[float, ...]:
        """Return the numbers that the C++ core gets: the fields in their order."""
        return tuple(map(float, astuple(self)))


class FunctionOfStates(StatePenalty):
    """A penalty R(h_0, h_1, ..., h_T) of the states of a batch of sequences.

    The NumPy methods are the definition that the C++ kernels are tested against. They take the
    states of one direction of one layer; `Output.y` of a network with one direction is the last
    layer's h. Sums are taken in float64.
    """

    def value(
        self,
        h: Array,
        h0: Array | None = None,
        *,
        lengths: ArrayLike | None = None,
        reverse: bool = False,
    ) -> float:
        """R.

        Parameters
        ----------
        h : ndarray, [T, B, H]
            States by time; what lies past a sequence's end does not count.
        h0 : ndarray, [B, H], optional
            States before the first step, zero by default.
        lengths : array of B ints, optional
            Steps of each sequence; T by default.
        reverse : bool
            Whether the recursion runs from each sequence's end to its start.

        Raises
        ------
        TypeError, ValueError
            If the lengths do not fit.
        """
        return self.strength * self._sum(_sequences(h, h0, lengths, reverse))

    def gradient(
        self,
        h: Array,
        h0: Array | None = None,
        *,
        lengths: ArrayLike | None = None,
        reverse: bool = False,
    ) -> tuple[Array, Array]:
        """dR/dh [T, B, H] and dR/dh_0 [B, H], of h's dtype; arguments as for `value`.

        At a kink the subgradient of least size.
        """
        sequences = _sequences(h, h0, lengths, reverse)
        d_h, d_h0 = np.zeros_like(h), np.zeros(h.shape[1:], h.dtype)
        for b, d in enumerate(self._gradients(sequences)):
            steps = self.strength * d[1:]
            d_h[: len(steps), b] = steps[::-1] if reverse else steps
            d_h0[b] = self.strength * d[0]
        return d_h, d_h0

    @abstractmethod
    def _sum(self, sequences: Sequence[Array]) -> float:
        """R / strength of sequences h_0, h_1, ..., in the order of the recursion, [T_b + 1, H]."""

    @abstractmethod
    def _gradients(self, sequences: Sequence[Array]) -> list[Array]:
        """dR/dh / strength of each of them."""


def _sequences(h: Array, h0: Array | None, lengths: ArrayLike | None, reverse: bool) -> list[Array]:
    """Each sequence of a batch with its initial state, in float64 and the recursion's order."""
    times, batch, hidden = h.shape
    steps = np.full(batch, times) if lengths is None else _steps(lengths, times, batch)
    first = np.zeros((batch, hidden)) if h0 is None else h0
    found = []
    for b, length in enumerate(steps):
        own = h[:length, b]
        found.append(np.vstack([first[b], own[::-1] if reverse else own]).astype(np.float64))
    return found


def _steps(lengths: ArrayLike, times: int, batch: int) -> Array:
    steps = np.asarray(lengths)
    if steps.dtype.kind not in "iu" and steps.size:
        raise TypeError(f"lengths: expected integers, got dtype {steps.dtype}")
    if steps.shape != (batch,):
        raise ValueError(f"lengths: expected shape ({batch},), got {steps.shape}")
    odd = steps[(steps < 0) | (steps > times)]
    if odd.size:
        raise ValueError(f"lengths: expected values from 0 to {times}, got {odd[0]}")
    return steps


def registry() -> dict[str, type[StatePenalty]]:
    """Class name and class of every state penalty there is.

    Examples
    --------
    >>> from normrnn.state_penalties import registry
    >>> registry()["TAR"](0.5)
    TAR(strength=0.5)
    """
    return concrete_subclasses(StatePenalty)  # type: ignore[type-abstract]
