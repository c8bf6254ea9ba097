"""Benchmark points, their arrays, and the check that precedes every timing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import normrnn as nr
from normrnn import _core

# Numbers of each unit and step that back-propagation reads: states, activated gates, and for the
# GRU also the recurrent part of its candidate.
TAPE = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 5, "lstm": 6}
GATES = {name: _core.cells()[name][0] for name in TAPE}  # the cells that other libraries have
FLOPS = {"forward": 1, "tape": 1, "train": 3}  # in forward passes: backward takes two

Array = np.ndarray[Any, Any]


class Point(NamedTuple):
    """One shape of a recurrent network and its batch."""

    cell: str
    times: int  # T
    batch: int  # B
    inputs: int  # I
    hidden: int  # H
    layers: int = 1
    bidirectional: bool = False
    ragged: bool = False  # lengths drawn around T/2, as in a batch of sentences
    precision: str | None = None  # of the products' operands
    ours = "ours:SEQUENCE"
    peaks = ("flops", "bandwidth")

    @property
    def title(self) -> str:
        """The point as the tables and pictures name it."""
        network = f"{'bi-' * self.bidirectional}{self.cell}"
        layers = f", {self.layers} layers" if self.layers > 1 else ""
        real = self.rows / (self.times * self.batch)
        ragged = f", {real:.0%} real steps" if self.ragged else ""
        shape = f"T{self.times} B{self.batch} I{self.inputs} H{self.hidden}"
        return f"{network} {shape}{layers}{ragged}"

    def problem(self) -> Problem:
        """Draw its arrays."""
        return make_problem(self)

    def work(self, operation: str) -> dict[str, float]:
        """Count the flops of an operation."""
        return {"flops": FLOPS[operation] * self.flops}

    def check(self, operation: str, got: Array, expected: Array) -> None:
        """Compare results."""
        if self.precision:
            return assert_close_as_rounded(got, expected)
        kinks = operation == "train" and self.cell == "rnn_relu"
        (assert_close_but_for_kinks if kinks else assert_close)(got, expected)

    @property
    def lengths(self) -> Array | None:
        """Steps of each sequence, [B], with one that is as long as the batch; None if all are."""
        if not self.ragged:
            return None
        lengths = np.random.default_rng(1).integers(self.times // 20, self.times + 1, self.batch)
        lengths[0] = self.times
        return lengths

    @property
    def rows(self) -> int:
        """Steps of all sequences together."""
        return self.times * self.batch if self.lengths is None else int(self.lengths.sum())

    @property
    def flops(self) -> float:
        """Of a forward pass's products with U and W; back-propagation takes twice that."""
        directions = 1 + self.bidirectional
        columns = self.inputs + self.hidden
        columns += (self.layers - 1) * (directions + 1) * self.hidden
        return 2.0 * self.rows * GATES[self.cell] * self.hidden * directions * columns

    @property
    def tape_bytes(self) -> int:
        """What back-propagation has to know in float32: x, and of each layer h, c and the gates."""
        directions = 1 + self.bidirectional
        each_step = self.inputs + self.layers * directions * TAPE[self.cell] * self.hidden
        return 4 * self.rows * each_step


# The public points that train in reasonable time on a small machine.
SHAPES = [
    *[
        Point(cell, 100, batch, 64, 128)
        for cell in ("rnn_tanh", "gru", "lstm")
        for batch in (1, 32)
    ],
    *[Point(cell, 64, 64, 256, 512) for cell in ("rnn_tanh", "gru", "lstm")],
    Point("lstm", 25, 16, 512, 512),
    Point("lstm", 150, 16, 256, 256),
    Point("lstm", 50, 64, 500, 500),
    Point("lstm", 25, 64, 1024, 1024),
    Point("gru", 300, 20, 800, 800),
    Point("gru", 187, 32, 1024, 1024),
    Point("rnn_relu", 50, 32, 1760, 1760),
]


@dataclass(frozen=True)
class Problem:
    """One benchmark point with its arrays."""

    point: Point
    x: Array  # [T, B, I]
    dy: Array  # [T, B, D*H], zero past a sequence's end
    params: dict[str, Array]

    @property
    def cell(self) -> str:
        """The point's cell."""
        return self.point.cell

    @property
    def flops(self) -> float:
        """The point's flops of a forward pass."""
        return self.point.flops


def make_problem(point: Point) -> Problem:
    """Draw the same arrays in every process."""
    rng = np.random.default_rng(0)
    directions = 1 + point.bidirectional
    x = rng.standard_normal((point.times, point.batch, point.inputs), np.float32)
    dy = rng.standard_normal((point.times, point.batch, directions * point.hidden), np.float32)
    if point.lengths is not None:
        dy[np.arange(point.times)[:, None] >= point.lengths] = 0
    params = nr.init_params(
        point.cell,
        point.inputs,
        point.hidden,
        num_layers=point.layers,
        bidirectional=point.bidirectional,
    )
    return Problem(point, x, dy, params)


def assert_close(got: Array, expected: Array, tolerance: float = 2e-4) -> None:
    """Float32 sums of some thousand terms, taken in another order, differ by less than this."""
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


def assert_close_but_for_kinks(got: Array, expected: Array) -> None:
    """Gradients through ReLU: of a million units a few are so near 0 that rounding switches them.

    One switched unit out of a million is 1e-3 of the gradient's norm, and shows in many elements.
    """
    assert np.linalg.norm(got - expected) <= 1e-2 * np.linalg.norm(expected)


def assert_close_as_rounded(got: Array, expected: Array) -> None:
    """Each number with 8 bits is off by up to 1/256, and states that are kept so add to it."""
    assert np.linalg.norm(got - expected) <= 3e-2 * np.linalg.norm(expected)
