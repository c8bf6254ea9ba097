"""What a peer is: the same problem, prepared in another library as calls to time and to compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Arrays: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Call:
    """Something to time, and a way to look at what came out of it.

    Attributes
    ----------
    run : callable
        What is timed. Its arguments are bound already, in the library's own tensors, and so is what
        it returns: no peer pays for a conversion.
    read : callable
        What `run` returned as NumPy arrays: ``y`` [T, B, D*H] after a forward pass; ``dx``
        [T, B, I] and the gradient of every parameter under its name after forward + backward;
        every weight after an update.
    """

    run: Callable[[], Any]
    read: Callable[[Any], Arrays]


@dataclass(frozen=True)
class Peer:
    """A library, and how it does what normrnn does.

    Attributes
    ----------
    name, version : str
        As the tables tell them.
    prepare : callable
        Takes what the point's ``problem()`` returns and the number of threads; returns the calls
        that the library has, by operation: "forward" (inference), "tape" (a forward pass that keeps
        what back-propagation needs), "train" (forward + backward), "update", or "step" (a training
        step or an update with what the row is about) and "plain" (the same without it).
    lacks : callable
        Takes a point and says in a few words what of it the library cannot do, or None.
    same : bool
        Whether its results are to be normrnn's. Where a library has another remedy for the same
        ill, `prepare` checks that the remedy works.
    """

    name: str
    version: str
    prepare: Callable[[Any, int], dict[str, Call]]
    lacks: Callable[[Any], str | None] = lambda _: None
    same: bool = True


def weights_of(params: Arrays, suffix: str) -> tuple[NDArray[Any], ...]:
    """Return U [G*H, inputs], W [G*H, H], b_ih and b_hh [G*H] of one layer and direction."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return tuple(params[f"{kind}_{suffix}"] for kind in kinds)


def summed_bias(
    cell: str, b_ih: Any, b_hh: Any, join: Callable[[Any], Any] = np.concatenate
) -> Any:
    """Return what may be added to U x before the loop: both biases, but for the GRU's b_hn."""
    if cell != "gru":
        return b_ih + b_hh
    both = 2 * len(b_hh) // 3  # the candidate's recurrent part is multiplied by r first
    return join([b_ih[:both] + b_hh[:both], b_ih[both:]])
