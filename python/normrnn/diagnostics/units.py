"""Units that never do anything, and units that nobody listens to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normrnn._heads import HEADS, head_names
from normrnn._numbers import non_negative
from normrnn.diagnostics._names import (
    Array,
    hidden_of,
    params_in,
    run_names,
    runs_of,
    tape_in,
)
from normrnn.diagnostics.gates import RELU, gates_of

__all__ = ["DeadUnits", "dead_units"]


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


def dead_units(
    tape: object,
    params: Mapping[str, Array] | None = None,
    *,
    threshold: float = 1e-3,
    heads: Sequence[str] = HEADS,
) -> DeadUnits:
    """Find the units that never do anything, or that nobody listens to.

    A unit's outgoing weights are its column of W_hh (all gates) and its columns of the next layer's
    weight_ih, in both directions, or of the heads above the last layer. Without weight_hy the last
    layer's h is the output, and so it is read, unless other heads are named. A matrix W_hh that is
    kept as a vector (one weight from each unit to itself) feeds nobody else and does not count.

    Parameters
    ----------
    tape : Tape
        ``out.tape`` of `normrnn.forward`. Take a batch that stands for the data.
    params : mapping of str to ndarray, optional
        The network's parameters, for `unread`.
    threshold : float
        Of |h|, for `silent`.
    heads : sequence of str
        As for `shrink`: names in params of all the matrices [O, D*H] that read the last layer, for
        `unread`.

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
    readers = head_names(heads)
    if params is None:
        if readers != HEADS:
            raise ValueError(f"heads: expected none without params, got {readers}")
        unread = None
    else:
        unread = _unread(params, names, run.directions, silent[0].size, readers)
    return DeadUnits(names, np.array(silent), np.array(inactive), unread)


def _unread(
    params: Mapping[str, Array],
    names: tuple[str, ...],
    directions: int,
    hidden: int,
    heads: tuple[str, ...],
) -> NDArray[np.bool_]:
    params_in(params)
    if hidden_of(params) != hidden:
        raise ValueError(f"params: expected {hidden} hidden units, got {hidden_of(params)}")
    there, _ = runs_of(params)
    if there != names:
        raise ValueError(f"params: expected layers and directions {names}, got {there}")
    if heads == HEADS:
        heads = tuple(name for name in heads if name in params)  # may be none
    for name in heads:
        if name not in params:
            raise ValueError(f"heads: expected names of parameters, got {name!r}")
        shape = params[name].shape
        if len(shape) != 2 or shape[1] != directions * hidden:
            raise ValueError(f"{name}: expected shape (O, {directions * hidden}), got {shape}")
    unread = np.zeros((len(names), hidden), np.bool_)
    for i, name in enumerate(names):
        own = params[f"weight_hh_{name}"]
        layer, direction = divmod(i, directions)
        above = [params[f"weight_ih_{n}"] for n in names if n.split("_")[0] == f"l{layer + 1}"]
        if layer == len(names) // directions - 1:
            above = [params[name] for name in heads]
            if not above:
                continue
        readers = [own] if own.ndim == 2 else []
        readers += [w[:, direction * hidden : (direction + 1) * hidden] for w in above]
        unread[i] = ~np.any([np.any(w != 0, axis=0) for w in readers], axis=0)
    return unread
