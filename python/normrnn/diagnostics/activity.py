"""What the states and gates did in a forward pass: saturation, and units that do nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normrnn._numbers import non_negative
from normrnn.diagnostics._names import Array, hidden_of, params_in, run_names, tape_in

__all__ = ["DeadUnits", "Saturation", "dead_units", "saturation"]

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
        i f g o tanh(c) for the LSTM, r z n for the GRU, h for Elman networks.
    low, high : ndarray, [L*D, gates, H]
        Fraction of the steps at which a unit's gate is within eps of its lower or upper bound.
    """

    names: tuple[str, ...]
    gates: tuple[str, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DeadUnits:
    """What `dead_units` returns, each [L*D, H], True for a unit that is dead in this sense.

    Attributes
    ----------
    names : tuple of str
        "l0", "l0_reverse", "l1", ...
    silent : ndarray of bool
        |h| never above the threshold.
    inactive : ndarray of bool
        h never above 0, in networks of ReLU units: no gradient comes through. Else False.
    unread : ndarray of bool or None
        All outgoing weights exactly 0; None without params.
    """

    names: tuple[str, ...]
    silent: NDArray[np.bool_]
    inactive: NDArray[np.bool_]
    unread: NDArray[np.bool_] | None


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
        Fractions low and high, NaN if there is no step at all.

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
    lengths = run.lengths
    names = run_names(run.layers, run.directions)
    low, high = [], []
    for i in range(len(names)):
        layer, direction = divmod(i, run.directions)
        gates = run.gates(layer, direction)  # [T, B, G, H]
        count, padding = int(lengths.sum()), gates.shape[0] * gates.shape[1] - int(lengths.sum())
        if "tanh(c)" in kinds:
            tanh_c = np.tanh(run.states(layer, direction)[1])
            gates = np.concatenate([gates, tanh_c[:, :, None]], axis=2)
        bounds = np.array(list(kinds.values()), gates.dtype)[:, :, None]  # [G, 2, 1]
        margin = np.where(np.isinf(bounds[:, 1]), 0, eps).astype(gates.dtype)  # ReLU: exactly 0
        at_low = gates <= bounds[:, 0] + margin
        at_high = gates >= bounds[:, 1] - margin
        # Past its end a sequence is 0 everywhere, which is near a bound of some gates.
        past = (bounds[:, 0] + margin >= 0) * padding
        with np.errstate(invalid="ignore", divide="ignore"):
            low.append((np.count_nonzero(at_low, axis=(0, 1)) - past) / np.float64(count))
            high.append(np.count_nonzero(at_high, axis=(0, 1)) / np.float64(count))
    return Saturation(names, tuple(kinds), np.array(low), np.array(high))


def dead_units(
    tape: object, params: Mapping[str, Array] | None = None, *, threshold: float = 1e-3
) -> DeadUnits:
    """Find the units that never do anything, or that nobody listens to.

    A unit's outgoing weights are its column of W_hh (all gates) and its columns of the next layer's
    weight_ih, in both directions, or of weight_hy above the last layer. Without weight_hy the last
    layer's h is the output, and so it is read. A matrix W_hh that is kept as a vector (one weight
    from each unit to itself) feeds nobody else and does not count.

    Parameters
    ----------
    tape : Tape
        ``out.tape`` of `normrnn.forward`. Take a batch that stands for the data.
    params : mapping of str to ndarray, optional
        The network's parameters, for `unread`.
    threshold : float
        Of |h|, for `silent`.

    Returns
    -------
    DeadUnits
        silent, inactive and unread.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params = nr.init_params("rnn_relu", 3, 5, output_size=2)
    >>> params["weight_hh_l0"][:, 1] = params["weight_hy"][:, 1] = 0
    >>> params["bias_ih_l0"][:] = [3, 3, 3, 3, -9]
    >>> out = nr.forward("rnn_relu", np.ones((7, 2, 3), np.float32), params)
    >>> dead = nr.diagnostics.dead_units(out.tape, params)
    >>> np.flatnonzero(dead.inactive[0]), np.flatnonzero(dead.unread[0])
    (array([4]), array([1]))
    """
    run = tape_in(tape)
    threshold = non_negative("threshold", threshold)
    names = run_names(run.layers, run.directions)
    relu = gates_of(run.cell).get("h") == RELU
    silent, inactive = [], []
    for i in range(len(names)):
        h = run.states(*divmod(i, run.directions))[0]  # 0 past a sequence's end, as if silent
        highest, lowest = h.max(axis=(0, 1), initial=0), h.min(axis=(0, 1), initial=0)
        silent.append(np.maximum(highest, -lowest) <= threshold)
        inactive.append((highest <= 0) & relu)
    unread = None if params is None else _unread(params, names, run.directions, silent[0].size)
    return DeadUnits(names, np.array(silent), np.array(inactive), unread)


def gates_of(cell: str) -> dict[str, tuple[float, float]]:
    """Bounds of a cell's gates by name, in the order of the cell."""
    for kind, gates in GATES.items():
        if kind in cell.split("_"):
            return gates
    raise ValueError(f"tape: expected a cell with known gates, got {cell!r}")


def _unread(
    params: Mapping[str, Array], names: tuple[str, ...], directions: int, hidden: int
) -> NDArray[np.bool_]:
    params_in(params)
    if hidden_of(params) != hidden:
        raise ValueError(f"params: expected {hidden} hidden units, got {hidden_of(params)}")
    unread = np.zeros((len(names), hidden), np.bool_)
    for i, name in enumerate(names):
        own = params[f"weight_hh_{name}"]
        layer, direction = divmod(i, directions)
        above = [params[f"weight_ih_{n}"] for n in names if n.split("_")[0] == f"l{layer + 1}"]
        if layer == len(names) // directions - 1:
            above = [params["weight_hy"]] if "weight_hy" in params else []
            if not above:
                continue
        readers = [own] if own.ndim == 2 else []
        readers += [w[:, direction * hidden : (direction + 1) * hidden] for w in above]
        unread[i] = ~np.any([np.any(w != 0, axis=0) for w in readers], axis=0)
    return unread
