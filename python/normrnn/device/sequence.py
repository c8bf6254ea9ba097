"""Forward and backward passes on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from normrnn import _core
from normrnn._core import DeviceArray, DeviceTape
from normrnn.device.late import DeviceGradients
from normrnn.device.libraries import Host, Library, library_of
from normrnn.device.places import check_device, index_in
from normrnn.dropout import Dropout
from normrnn.frozen import FrozenParams
from normrnn.results import Gradients, Output

HEAD = ("weight_hy", "bias_hy")


def forward(
    cell: str,
    x: Any,
    params: Mapping[str, Any],
    states: tuple[Any, Any],
    lengths: Any,
    *,
    device: object,
    stream: object,
    batch_first: bool,
    need_grad: bool,
    precision: str | None,
    dropout: Dropout | None,
    seed: int | None,
    training: bool,
) -> Output:
    """Do what `normrnn.forward` does, where x is on a device or ``device`` names one."""
    library: Library
    if isinstance(x, np.ndarray):
        library = Host(index_in("device", device))
    else:
        library = library_of("x", x)
        check_device(device, library.device)
    if isinstance(params, FrozenParams):
        raise TypeError("params: expected a dict on a device, got FrozenParams")
    if not isinstance(params, Mapping):
        raise TypeError(f"params: expected a mapping, got {type(params).__name__}")
    on = library.stream(stream)
    own = {name: library.take(name, w, on) for name, w in params.items() if name not in HEAD}
    y, final, tape = _core.device_forward(
        cell,
        library.take("x", x, on),
        own,
        library.take("h0", states[0], on),
        library.take("c0", states[1], on),
        lengths,
        batch_first,
        need_grad,
        precision,
        dropout,
        seed,
        training,
        *on,
        library,
    )
    library.lend([x, *params.values(), *states], stream)
    h_n, c_n = (*map(library.give, final), None)[:2]
    return Output(library.give(y), h_n, c_n, tape)


def backward(
    tape: DeviceTape,
    dy: Any,
    d_final: tuple[Any, Any],
    state_penalty: Any,
    clip_state: float | None,
    stream: object,
) -> Gradients:
    """Do what `normrnn.backward` does, for a tape of a device."""
    library: Library = tape.library
    on = library.stream(stream)
    params, dx, d_initial, h_norm, h_norm_clipped, penalty = _core.device_backward(
        tape,
        library.take("dy", dy, on),
        library.take("dh_n", d_final[0], on),
        library.take("dc_n", d_final[1], on),
        state_penalty,
        clip_state,
        *on,
    )
    library.lend([dy, *d_final], stream)
    h0, c0 = (*map(library.give, d_initial), None)[:2]
    h_norms = library.give(h_norm)
    arrays = {
        "params": {name: library.give(d) for name, d in params.items()},
        "x": library.give(dx),
        "h0": h0,
        "c0": c0,
        "h_norm": h_norms,
        "h_norm_clipped": h_norms if clip_state is None else library.give(h_norm_clipped),
    }
    if isinstance(library, Host):
        return Gradients(**arrays, penalty=_number(penalty))
    return DeviceGradients(arrays, lambda: {"penalty": _number(penalty)})


def _number(array: DeviceArray) -> float:
    return float(array.to_host()[0])
