"""Take out hidden units that no output depends on: fewer rows and columns, the same outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn import _core
from normrnn._heads import HEADS, head_names
from normrnn._numbers import non_negative
from normrnn.diagnostics._names import run_names
from normrnn.frozen import freeze

__all__ = ["Shrunk", "shrink"]

Array = NDArray[Any]

RECURRENT = re.compile(r"(weight|bias)_(ih|hh)_l(\d+)(_reverse)?")


@dataclass(frozen=True, eq=False)
class Shrunk:
    """What `shrink` returns. H is the hidden size before, H' the one after.

    Attributes
    ----------
    params : dict of str to ndarray
        The smaller parameters, under the same names and of the same dtype; copies.
    hidden_size, old_hidden_size : int
        H' and H.
    directions : int
        D.
    kept : ndarray of int, [L*D, H']
        Which of the H units of each layer and direction are still there, in rising order; layer l
        in direction d is at index l*D + d, as in ``h_n``.
    live : ndarray of bool, [L*D, H']
        Whether an output depends on the unit. The others fill their layer up to H' units.
    heads : tuple of str
        The heads that were shrunk along.
    old_shapes : dict of str to tuple of int
        The parameters' shapes before.
    """

    params: dict[str, Array]
    hidden_size: int
    old_hidden_size: int
    directions: int
    kept: NDArray[np.intp]
    live: NDArray[np.bool_]
    heads: tuple[str, ...]
    old_shapes: dict[str, tuple[int, ...]]

    def take_states(self, states: Array) -> Array:
        """Select the kept units of h0, c0, h_n or c_n: [L*D, B, H] becomes [L*D, B, H'].

        Raises
        ------
        TypeError, ValueError
            If it is no array of this shape.

        Examples
        --------
        >>> import numpy as np, normrnn as nr
        >>> params = nr.init_params("gru", 3, 4, output_size=1)
        >>> params["weight_hy"][:, 2] = params["weight_hh_l0"][:, 2] = 0
        >>> nr.shrink("gru", params).take_states(np.array([[[10, 11, 12, 13]]]))
        array([[[10, 11, 13]]])
        """
        runs, old = len(self.kept), self.old_hidden_size
        if not isinstance(states, np.ndarray):
            raise TypeError(f"states: expected an ndarray, got {type(states).__name__}")
        if states.ndim != 3 or states.shape[::2] != (runs, old):
            raise ValueError(f"states: expected shape ({runs}, B, {old}), got {states.shape}")
        return np.take_along_axis(states, self.kept[:, None, :], axis=2)

    def take_params(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Select from arrays with the parameters' names and old shapes what was kept.

        For what accompanies parameters: a rule's slots (``state["exp_avg"]``), the centre of an
        `L2`, gradients.

        Raises
        ------
        TypeError, ValueError
            If a name is not a parameter's, or what it names is no array of the old shape.

        Examples
        --------
        >>> import normrnn as nr
        >>> params = nr.init_params("lstm", 3, 4, output_size=1)
        >>> params["weight_hy"][:, 2] = params["weight_hh_l0"][:, 2] = 0
        >>> state, smaller = nr.init_state(nr.Momentum(0.1), params), nr.shrink("lstm", params)
        >>> velocity = smaller.take_params(state["velocity"])
        >>> velocity["weight_hh_l0"].shape, velocity["weight_hy"].shape
        ((12, 3), (1, 3))
        """
        for name, w in arrays.items():
            if name not in self.old_shapes:
                raise ValueError(f"arrays: expected names of parameters, got {name!r}")
            if not isinstance(w, np.ndarray):
                raise TypeError(f"{name}: expected an ndarray, got {type(w).__name__}")
            if w.shape != self.old_shapes[name]:
                raise ValueError(f"{name}: expected shape {self.old_shapes[name]}, got {w.shape}")
        return _take(arrays, self.kept, self.old_hidden_size, self.directions, self.heads)


def shrink(
    cell: str,
    params: Mapping[str, Array],
    *,
    tol: float = 0.0,
    heads: Sequence[str] = HEADS,
) -> Shrunk:
    """Remove the hidden units that no output depends on, so that the same outputs cost less.

    A unit is dead if no chain of weights with |w| > tol leads from it to a head: its column of
    ``weight_hh`` (all gates) and of the next layer's ``weight_ih`` (both directions), or of the
    heads, is zero but for weights into other dead units or itself. Group lasso on outgoing weights
    makes such units. A dead unit's rows, biases and columns go. What remains computes the same, to
    rounding with ``tol=0``: the sums have fewer terms, all of which were zero.

    Every layer and direction has the same hidden size, so H' is the largest number of live units
    among them, and at least 1. A layer with fewer live units keeps its first dead ones as well.
    Those stay without influence, and their own states may differ from before, since units that
    they alone depended on are gone.

    Parameters
    ----------
    cell : str
        "rnn_tanh", "rnn_relu", "gru", "lstm", "indrnn_tanh" or "indrnn_relu". Not a cell with layer
        normalisation, whose units all depend on each other through mean and variance.
    params : mapping of str to ndarray
        Parameters with at least one head. Left unchanged. What is neither recurrent nor a head,
        such as ``bias_hy``, is copied as it is.
    tol : float
        Largest absolute value >= 0 of a weight that counts as zero. Above 0 the outputs change by
        what those weights contributed.
    heads : sequence of str
        Names in `params` of all the matrices [O, D*H] that read the last layer's output y (or its
        h_n, both directions side by side). There must be one: if y itself is the result, every
        unit of the last layer counts, and nothing can be removed. Heads that are kept apart from
        the parameters are joined for this call: ``params | heads``.

    Returns
    -------
    Shrunk
        params, hidden_size, kept, live; `Shrunk.take_states` selects from h0 and c0, and
        `Shrunk.take_params` from a rule's slots.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If a shape or a name does not fit, there is no head, or the cell couples its units.

    References
    ----------
    Wen et al., Learning intrinsic sparse structures within long short-term memory,
    arXiv:1709.05027, remove LSTM units whose rows and columns are all zero; zero columns suffice.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params = nr.init_params("gru", input_size=3, hidden_size=4, output_size=2)
    >>> params["weight_hy"][:, 2] = params["weight_hh_l0"][:, 2] = 0
    >>> smaller = nr.shrink("gru", params)
    >>> smaller.kept.tolist(), smaller.params["weight_hh_l0"].shape
    ([[0, 1, 3]], (9, 3))
    >>> x = np.ones((7, 1, 3), np.float32)
    >>> before = nr.head_forward(nr.forward("gru", x, params).y, params)
    >>> after = nr.head_forward(nr.forward("gru", x, smaller.params).y, smaller.params)
    >>> bool(np.allclose(before, after, atol=1e-6))
    True
    """
    tol = non_negative("tol", tol)
    names, hidden = _check(cell, params, heads)
    directions = 2 if "weight_hh_l0_reverse" in params else 1
    layers = sum(re.fullmatch(r"weight_hh_l\d+", name) is not None for name in params)
    suffixes = run_names(layers, directions)

    live = np.zeros((layers, directions, hidden), bool)
    for layer in reversed(range(layers)):
        # Which of the columns [D*H] of y somebody above reads: a head, or a live unit's gate.
        read = np.zeros(directions * hidden, bool)
        if layer == layers - 1:
            for name in names:
                read |= _counts(params[name], tol).any(axis=0)
        else:
            for d, suffix in enumerate(suffixes[(layer + 1) * directions :][:directions]):
                gates = params[f"weight_ih_{suffix}"].reshape(-1, hidden, read.size)
                read |= _counts(gates[:, live[layer + 1, d]], tol).any(axis=(0, 1))
        for d, suffix in enumerate(suffixes[layer * directions :][:directions]):
            weights = params[f"weight_hh_{suffix}"]
            live[layer, d] = _upstream(read.reshape(directions, hidden)[d], weights, tol)

    alive = live.reshape(-1, hidden)
    size = max(1, int(alive.sum(axis=1).max()))
    # Live units first, then dead ones, both in their order.
    kept = np.sort(np.argsort(~alive, axis=1, kind="stable")[:, :size], axis=1)
    smaller = _take(params, kept, hidden, directions, names)
    alive = np.take_along_axis(alive, kept, axis=1)
    shapes = {name: w.shape for name, w in params.items()}
    return Shrunk(smaller, size, hidden, directions, kept, alive, names, shapes)


def _check(
    cell: str, params: Mapping[str, Array], heads: Sequence[str]
) -> tuple[tuple[str, ...], int]:
    """Return the heads' names and H, after all checks."""
    if not isinstance(params, Mapping):
        raise TypeError(f"params: expected a mapping, got {type(params).__name__}")
    if isinstance(cell, str) and cell.endswith("_ln"):
        raise ValueError(
            "cell: expected a cell whose units can be removed one by one, which layer "
            f"normalisation couples, got {cell!r}"
        )
    names = head_names(heads)
    for name in names:
        if name not in params:
            raise ValueError(f"heads: expected names of parameters, got {name!r}")
    # The core's own check of names, dtypes and shapes, as in `forward`.
    freeze(cell, {key: w for key, w in params.items() if RECURRENT.fullmatch(key)})
    hidden = params["weight_ih_l0"].shape[0] // _core.cells()[cell][0]
    columns = hidden * (2 if "weight_hh_l0_reverse" in params else 1)
    for name in names:
        w = params[name]
        if not isinstance(w, np.ndarray):
            raise TypeError(f"{name}: expected an ndarray, got {type(w).__name__}")
        if w.ndim != 2 or w.shape[1] != columns:
            raise ValueError(f"{name}: expected shape (O, {columns}), got {w.shape}")
    return names, hidden


def _counts(w: Array, tol: float) -> NDArray[np.bool_]:
    counts: NDArray[np.bool_] = ~(np.abs(w) <= tol)  # NaN counts, too
    return counts


def _upstream(read: NDArray[np.bool_], weight_hh: Array, tol: float) -> NDArray[np.bool_]:
    """Return the units [H] from which weights lead, over steps, to those that are read."""
    live = read.copy()
    hidden = len(read)
    if weight_hh.size == hidden:  # no unit reads another: an independent RNN, or a single unit
        return live
    gates = _counts(weight_hh, tol).reshape(-1, hidden, hidden)
    reads: NDArray[np.bool_] = np.any(gates, axis=0)  # [unit, of unit]
    new = live
    while new.any():
        new = reads[new].any(axis=0) & ~live
        live |= new
    return live


def _take(
    arrays: Mapping[str, Array],
    kept: NDArray[np.intp],
    old: int,
    directions: int,
    heads: Sequence[str],
) -> dict[str, Array]:
    """Copy arrays without the rows and columns of units that are not kept, [L*D, H']."""

    def blocks(count: int, units: NDArray[np.intp]) -> NDArray[np.intp]:
        """Index units in `count` blocks of `old` each; units are [H'] or [count, H']."""
        offsets = old * np.arange(count, dtype=np.intp)
        indices: NDArray[np.intp] = (offsets[:, None] + units).ravel()
        return indices

    taken = {}
    for name, w in arrays.items():
        if match := RECURRENT.fullmatch(name):
            first = int(match[3]) * directions  # run of the layer's forward direction
            run = first + (match[4] is not None)
            w = w[blocks(w.shape[0] // old, kept[run])]
            if match[1] == "weight" and match[2] == "hh" and w.shape[1:] == (old,):
                w = w[:, kept[run]]
            elif match[1] == "weight" and match[2] == "ih" and first:
                w = w[:, blocks(directions, kept[first - directions : first])]
        elif name in heads:
            w = w[:, blocks(directions, kept[-directions:])]
        taken[name] = np.array(w, order="C")
    return taken
