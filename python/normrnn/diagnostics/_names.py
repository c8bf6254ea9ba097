"""Names of layers, directions and gates, and the checks that diagnostics share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn import _core
from normrnn.penalties.resolve import GATES

Array = NDArray[Any]


def run_names(layers: int, directions: int) -> tuple[str, ...]:
    """Name every layer and direction as parameters do: "l0", "l0_reverse", "l1", ..."""
    return tuple(f"l{k}{d}" for k in range(layers) for d in ("", "_reverse")[:directions])


def runs_of(params: Mapping[str, Array]) -> tuple[tuple[str, ...], int]:
    """Return the names of the layers and directions of `params`, and the number of directions."""
    params_in(params)
    layers = 0
    while f"weight_ih_l{layers}" in params:
        layers += 1
    if layers == 0:
        raise ValueError("params: expected a parameter named 'weight_ih_l0', got none of that name")
    directions = 2 if "weight_ih_l0_reverse" in params else 1
    return run_names(layers, directions), directions


def params_in(params: object) -> None:
    """Refuse anything but a mapping of floating-point arrays."""
    if not isinstance(params, Mapping):
        raise TypeError(f"params: expected a mapping, got {type(params).__name__}")
    for name, w in params.items():
        if not isinstance(w, np.ndarray):
            raise TypeError(f"{name}: expected a numpy.ndarray, got {type(w).__name__}")
        if w.dtype.kind != "f":
            raise TypeError(f"{name}: expected a floating-point dtype, got {w.dtype}")


def hidden_of(params: Mapping[str, Array]) -> int:
    """H, from the last length of weight_hh_l0 (a vector for cells whose recurrence is one)."""
    if "weight_hh_l0" not in params:
        raise ValueError("params: expected a parameter named 'weight_hh_l0', got none of that name")
    return int(params["weight_hh_l0"].shape[-1])


def blocks(name: str, w: Array, hidden: int) -> dict[str, Array]:
    """Return a parameter and, where it stacks gates, each gate's block of H rows: "name[f]"."""
    found = {name: w}
    if ("_ih_l" in name or "_hh_l" in name) and w.ndim and w.shape[0] % hidden == 0:
        for g, gate in enumerate(GATES.get(w.shape[0] // hidden, "")):
            found[f"{name}[{gate}]"] = w[g * hidden : (g + 1) * hidden]
    return found


def tape_in(tape: object) -> _core.Tape:
    """Refuse anything but the tape of a forward pass on the CPU."""
    if isinstance(tape, _core.DeviceTape):
        raise TypeError(
            f"tape: expected the tape of a forward pass on the CPU, got one on {tape.device}"
        )
    if not isinstance(tape, _core.Tape):
        got = type(tape).__name__
        raise TypeError(f"tape: expected the tape of a forward pass with need_grad=True, got {got}")
    return tape
