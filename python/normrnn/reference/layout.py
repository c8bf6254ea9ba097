"""Which array belongs where: parameter names, layers and directions, lengths, the tape."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from normrnn.reference.cells.base import Array, Arrays, Cell, Factor
from normrnn.reference.masks import Masks

Params: TypeAlias = Mapping[str, Array]
Lengths: TypeAlias = Sequence[int] | NDArray[np.integer[Any]]
Operand: TypeAlias = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Run:
    """One direction of one layer: what its steps saw, in the order in which they ran."""

    suffix: str  # of its parameters' names: "l0", "l0_reverse", "l1", ...
    x: Array  # [T, B, inputs]
    order: range  # the time index of each step
    states: list[Arrays]  # before each step and after the last: T + 1 tuples of [B, H]
    tapes: list[Arrays]  # the cell's own, T of them
    after: list[Arrays]  # what the cell made of each step, before zoneout
    masks: Masks
    norms: list[tuple[Arrays, Arrays]]  # of pre and rec, T of them with layer norm, else none


@dataclass(frozen=True, eq=False)
class Tape:
    """What backward needs. It refers to the weights, which must not change in between."""

    cell: type[Cell]
    params: Params
    runs: list[Run]  # L*D of them
    directions: int  # D
    active: NDArray[np.bool_]  # [T, B, 1]: does the sequence take part in the step?
    batch_first: bool
    operand: Operand  # what products round their operands with
    input_mask: Factor  # of x, [T, B, I] or [1, B, I], or 1


def suffixes(params: Params) -> tuple[list[str], int]:
    """Return the names' ending for each layer and direction, and the number of directions."""
    directions = ["", "_reverse"] if "weight_hh_l0_reverse" in params else [""]
    layers = 0
    while f"weight_hh_l{layers}" in params:
        layers += 1
    return [f"l{layer}{d}" for layer in range(layers) for d in directions], len(directions)


def weights(cell: type[Cell], params: Params, suffix: str) -> dict[str, Array]:
    """Return the parameters of a layer and direction by kind, with zeros for absent biases."""
    u = params[f"weight_ih_{suffix}"]
    shapes = cell.parameter_shapes(u.shape[1], u.shape[0] // cell.gates)
    return {
        kind: params.get(f"{kind}_{suffix}", np.zeros(shape, u.dtype))
        if kind.startswith("bias")
        else params[f"{kind}_{suffix}"]
        for kind, shape in shapes.items()
    }


def active_steps(lengths: Lengths | None, times: int, batch: int) -> NDArray[np.bool_]:
    """Say whether step t is before the end of sequence b, [T, B, 1]."""
    if lengths is None:
        return np.ones((times, batch, 1), dtype=bool)
    steps = np.asarray(lengths)
    if steps.shape != (batch,):
        raise ValueError(f"lengths: expected shape ({batch},), got {steps.shape}")
    if np.any((steps < 0) | (steps > times)):
        raise ValueError(f"lengths: expected integers in [0, {times}], got {steps.tolist()}")
    return (np.arange(times)[:, None] < steps)[:, :, None]


def or_zeros(argument: str, array: Array | None, shape: tuple[int, ...], like: Array) -> Array:
    """Return `array` if its shape is right, and zeros of the dtype of `like` for None."""
    if array is None:
        return np.zeros(shape, like.dtype)
    if array.shape != shape:
        raise ValueError(f"{argument}: expected shape {shape}, got {array.shape}")
    return array
