"""Stretches of sequences run again, one layer and direction at a time, for their Jacobians."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normrnn.diagnostics._names import Array, runs_of
from normrnn.functional import backward, forward

# Central differences in float64 are off by step² from the cut-off series and by u/step, u = 1e-16,
# from rounding; both are far below an estimate's own error.
STEP = 1e-6
BYTES = 1 << 26  # of tape at a time


@dataclass(frozen=True, eq=False)
class LayerRun:
    """A layer and direction by itself, in the order of its own steps, all in float64."""

    cell: str
    params: dict[str, Array]  # as those of one layer
    x: Array  # [T, B, inputs], each sequence from its own first step
    states: tuple[Array, ...]  # [T + 1, B, H] each, the initial one first
    lengths: NDArray[np.int64]  # [B]


def layer_runs(
    cell: str,
    x: Array,
    params: Mapping[str, Array],
    h0: Array | None,
    c0: Array | None,
    lengths: ArrayLike | None,
    batch_first: bool,
    chosen: Sequence[str],
) -> dict[str, LayerRun]:
    """Run the network once, and take it apart."""
    names, directions = runs_of(params)
    weights = {name: np.asarray(w, np.float64) for name, w in params.items()}
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or x.ndim != 3:
        got = f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise TypeError(f"x: expected a floating-point array of 3 dimensions, got {got}")
    source = x.astype(np.float64)
    for argument, s in {"h0": h0, "c0": c0}.items():
        if not isinstance(s, np.ndarray | None):
            raise TypeError(f"{argument}: expected an ndarray or None, got {type(s).__name__}")
    initial = [None if s is None else np.asarray(s, np.float64) for s in (h0, c0)]
    out = forward(cell, source, weights, *initial, lengths=lengths, batch_first=batch_first)
    ends = out.tape.lengths
    source = source.swapaxes(0, 1) if batch_first else source
    times = len(source)
    # Row s of a sequence in its own order: from its end for a reverse direction.
    turned = np.maximum(ends - 1 - np.arange(times)[:, None], 0)[:, :, None]

    runs = {}
    for i, name in enumerate(names):
        layer, direction = divmod(i, directions)
        if direction == 0 and layer > 0:
            below = [out.tape.states(layer - 1, d)[0] for d in range(directions)]
            source = np.concatenate(below, axis=2)
        if name not in chosen:
            continue
        own = {n[: -len(name)] + "l0": w for n, w in weights.items() if n.endswith(f"_{name}")}
        steps = [source, *out.tape.states(layer, direction)]
        if direction:
            steps = [np.take_along_axis(s, turned, axis=0) for s in steps]
        states = []
        for s, first in zip(steps[1:], initial, strict=False):
            begin = np.zeros_like(s[:1]) if times else np.zeros((1, *s.shape[1:]))
            if first is not None:
                begin = first[i : i + 1]
            states.append(np.concatenate([begin, s]))
        runs[name] = LayerRun(cell, own, steps[0], tuple(states), ends)
    return runs


@dataclass(frozen=True, eq=False)
class Stretch:
    """N stretches of `lag` steps: sequence[n], from the state after start[n] of its steps."""

    run: LayerRun
    sequence: NDArray[np.int64]
    start: NDArray[np.int64]
    lag: int

    @property
    def rows(self) -> int:
        """N."""
        return len(self.sequence)

    @property
    def width(self) -> int:
        """Entries of a state: H, or 2 H with c."""
        return sum(int(s.shape[2]) for s in self.run.states)

    def transposed(self, v: Array) -> Array:
        """Jᵀv for m vectors for each stretch, [N, m, width], by back-propagation."""
        out = np.empty(v.shape)
        for row, one in self._pieces(v.shape[1]):
            x, states = self._at(row)
            tape = forward(self.run.cell, x, self.run.params, *states).tape
            grads = backward(tape, None, *self._split(v[row, one]))
            found = [grads.h0] if grads.c0 is None else [grads.h0, grads.c0]
            out[row, one] = np.concatenate([d[0] for d in found], axis=1)
        return out

    def forward(self, v: Array) -> Array:
        """Jv for m unit vectors for each stretch, [N, m, width], by central differences."""
        out = np.empty(v.shape)
        for row, one in self._pieces(v.shape[1]):
            x, states = self._at(row)
            ends = []
            for step in (STEP, -STEP):
                moved = [
                    s + step * d for s, d in zip(states, self._split(v[row, one]), strict=True)
                ]
                end = forward(self.run.cell, x, self.run.params, *moved, need_grad=False)
                last = [end.h_n] if end.c_n is None else [end.h_n, end.c_n]
                ends.append(np.concatenate([s[0] for s in last], axis=1))
            out[row, one] = (ends[0] - ends[1]) / (2 * STEP)
        return out

    def _pieces(self, vectors: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Which stretch and which of its vectors, as many at a time as memory is meant for."""
        per_row = 8 * self.lag * (self.run.x.shape[2] + 8 * self.run.states[0].shape[2])
        count = self.rows * vectors
        at_once = max(1, BYTES // per_row)
        for first in range(0, count, at_once):
            row, one = np.divmod(np.arange(first, min(count, first + at_once)), vectors)
            yield row, one

    def _at(self, row: NDArray[np.int64]) -> tuple[Array, list[Array]]:
        """Take inputs [lag, rows, inputs] and first states [1, rows, H]."""
        sequence, start = self.sequence[row], self.start[row]
        x = self.run.x[start + np.arange(self.lag)[:, None], sequence]
        return x, [s[start, sequence][None] for s in self.run.states]

    def _split(self, v: Array) -> list[Array]:
        """Split [rows, width] into a state's parts, [1, rows, H] each."""
        return [np.ascontiguousarray(p)[None] for p in np.split(v, len(self.run.states), axis=1)]
