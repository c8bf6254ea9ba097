"""How much of the time each gate sits at its bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normrnn._numbers import non_negative
from normrnn.diagnostics._names import Array, run_names, tape_in

__all__ = ["Saturation", "saturation"]

SIGMOID, TANH, RELU = (0.0, 1.0), (-1.0, 1.0), (0.0, np.inf)
# Gates by cell, a suffix such as _ln left out; after the LSTM's own, tanh(c), which makes h of o.
GATES = {
    "lstm": {"i": SIGMOID, "f": SIGMOID, "g": TANH, "o": SIGMOID, "tanh(c)": TANH},
    "gru": {"r": SIGMOID, "z": SIGMOID, "n": TANH},
    "tanh": {"h": TANH},
    "relu": {"h": RELU},
}


@dataclass(frozen=True, eq=False)
class Saturation:
    """What `saturation` returns, fractions of all steps of all sequences.

    Attributes
    ----------
    names : tuple of str
        "l0", "l0_reverse", "l1", ...
    gates : tuple of str
        i f g o tanh(c) for the LSTM (no tanh(c) with layer norm), r z n for the GRU, h for Elman
        networks.
    low, high : ndarray, [L*D, gates, H]
        Fraction of the steps at which a unit's gate is within eps of its lower or upper bound.
    """

    names: tuple[str, ...]
    gates: tuple[str, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def saturation(tape: object, *, eps: float = 0.1) -> Saturation:
    """Fraction of steps at which each gate of each unit is within eps of its bounds.

    Bounds are 0 and 1 for the sigmoid, −1 and 1 for tanh. ReLU has only the lower one, and counts
    as there when exactly 0. A gate at its bound passes next to no gradient to its own weights. It
    need not be a fault: a forget gate that stays near 1 is how an LSTM remembers.

    Parameters
    ----------
    tape : Tape
        ``out.tape`` of `normrnn.forward`. Steps past a sequence's end do not count.
    eps : float
        Above 0, below 1/2.

    Returns
    -------
    Saturation
        Fractions low and high, NaN if there is no step at all. A gate that is NaN is at neither.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    References
    ----------
    Karpathy, Johnson and Fei-Fei, Visualizing and understanding recurrent networks,
    arXiv:1506.02078, whose bounds of 0.1 and 0.9 are the default.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params = nr.init_params("lstm", 3, 5)
    >>> params["bias_ih_l0"][5:10] = 6.0  # the forget gate's
    >>> out = nr.forward("lstm", np.ones((7, 2, 3), np.float32), params)
    >>> found = nr.diagnostics.saturation(out.tape)
    >>> dict(zip(found.gates, found.high.mean(axis=2)[0].round(2).tolist()))
    {'i': 0.0, 'f': 1.0, 'g': 0.0, 'o': 0.0, 'tanh(c)': 0.14}
    """
    run = tape_in(tape)
    if not 0 < non_negative("eps", eps) < 0.5:
        raise ValueError(f"eps: expected a number above 0 and below 1/2, got {eps}")
    kinds = gates_of(run.cell)
    names = run_names(run.layers, run.directions)
    count = int(run.lengths.sum())
    low: list[NDArray[np.float64]] = []
    high: list[NDArray[np.float64]] = []
    for i in range(len(names)):
        layer, direction = divmod(i, run.directions)
        gates = run.gates(layer, direction)
        hidden, padding = gates.shape[3], gates.shape[0] * gates.shape[1] - count
        own = [_margins(kinds[gate], eps) for gate in kinds if gate != "tanh(c)"]
        counts = [_counts(gates.reshape(-1, *gates.shape[2:]), own, padding)]
        if "tanh(c)" in kinds:  # where c itself is as far out as that
            bound = float(np.arctanh(1 - eps))
            c = run.states(layer, direction)[1].reshape(-1, 1, hidden)
            counts.append(_counts(c, [(-bound, bound)], padding))
        with np.errstate(invalid="ignore", divide="ignore"):
            for found, side in zip((low, high), zip(*counts, strict=True), strict=True):
                found.append(np.concatenate(side) / np.float64(count))
    return Saturation(names, tuple(kinds), np.array(low), np.array(high))


def gates_of(cell: str) -> dict[str, tuple[float, float]]:
    """Bounds of a cell's gates by name, in the order of the cell."""
    for kind, gates in GATES.items():
        if kind in cell.split("_"):
            # With layer norm h is not made of tanh(c), but of what c is normalised to.
            return {g: b for g, b in gates.items() if g != "tanh(c)" or not cell.endswith("_ln")}
    raise ValueError(f"tape: expected a cell with known gates, got {cell!r}")


def _margins(bounds: tuple[float, float], eps: float) -> tuple[float, float]:
    """Up to where a gate counts as being at its lower bound, and from where at its upper one."""
    low, high = bounds
    return (low, high) if np.isinf(high) else (low + eps, high - eps)  # ReLU: exactly 0, and never


def _counts(
    values: Array, margins: list[tuple[float, float]], padding: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of `values` [N, G, H] are at the bounds, [G, H]; `padding` of N are 0 throughout."""
    low, high = np.array(margins, values.dtype).T[:, :, None]  # [G, 1] each
    at_low, at_high = (np.zeros(values.shape[1:], np.int64) for _ in range(2))
    # By so many rows that their sum fits into a byte: several times as fast as any wider sum.
    for first in range(0, len(values), 255):
        rows = values[first : first + 255]
        at_low += (rows <= low).view(np.uint8).sum(axis=0, dtype=np.uint8)
        at_high += (rows >= high).view(np.uint8).sum(axis=0, dtype=np.uint8)
    return at_low - padding * (low >= 0), at_high - padding * (high <= 0)
