"""Parameters that cannot change, packed once for many forward passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn import _core

__all__ = ["FrozenParams", "freeze"]

Array = NDArray[Any]


class FrozenParams(Mapping[str, Array]):
    """What `freeze` returns: read-only copies of the parameters under their names.

    Takes the place of the dict of parameters in `forward` and `head_forward`. A pickle or a deep
    copy holds the parameters, and packs them again where it is made whole.

    Examples
    --------
    >>> import normrnn as nr
    >>> frozen = nr.freeze("rnn_tanh", nr.init_params("rnn_tanh", 3, 5))
    >>> frozen.cell, frozen["weight_hh_l0"].flags.writeable
    ('rnn_tanh', False)
    """

    def __init__(
        self, cell: str, params: Mapping[str, Array], precision: str | None = None
    ) -> None:
        self._params = {name: _immutable(w) for name, w in params.items()}
        self.cell = cell
        self.precision = precision
        self.handle = _core.freeze(cell, self._params, precision)

    def __getitem__(self, name: str) -> Array:
        return self._params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenParams, (self.cell, self._params, self.precision)

    def __repr__(self) -> str:
        return f"FrozenParams({self.cell!r}, {sorted(self._params)})"


def freeze(cell: str, params: Mapping[str, Array], *, precision: str | None = None) -> FrozenParams:
    """Copy parameters into a form that cannot change, so that forward passes need not pack them.

    `forward` puts the weights into the order in which its kernels read them at every call, since
    nothing tells it whether they have changed. For short sequences, one step of a controller
    above all, that takes longer than the pass itself. Frozen parameters are packed once. They are
    copies: later changes of the originals do not reach them, and they refuse to be changed.

    Parameters
    ----------
    cell : str
        A cell that `init_params` knows.
    params : mapping of str to ndarray
        As for `forward`.
    precision : None or "bfloat16"
        That of the calls to come. Others work too, but pack the weights again.

    Returns
    -------
    FrozenParams
        A read-only mapping, for `forward` in place of the dict.

    Raises
    ------
    TypeError, ValueError
        As `forward` raises for parameters that do not fit.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params = nr.init_params("gru", input_size=3, hidden_size=5)
    >>> frozen = nr.freeze("gru", params)
    >>> h = np.zeros((1, 1, 5), np.float32)
    >>> for x in np.ones((4, 1, 1, 3), np.float32):  # one step at a time
    ...     h = nr.forward("gru", x, frozen, h, need_grad=False).h_n
    >>> bool(np.array_equal(h, nr.forward("gru", np.ones((4, 1, 3), np.float32), params).h_n))
    True
    """
    if not isinstance(params, Mapping):
        raise TypeError(f"params: expected a mapping, got {type(params).__name__}")
    return FrozenParams(cell, params, precision)


def _immutable(w: Array) -> Array:
    if not isinstance(w, np.ndarray) or w.dtype.hasobject or hasattr(w, "mask"):
        return w  # for the core to refuse
    # Over bytes: the flag of an array that owns its memory could be set back.
    return np.frombuffer(w.tobytes() or b"\0" * w.itemsize, w.dtype, w.size).reshape(w.shape)
