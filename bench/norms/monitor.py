"""Training with a Monitor: its default over a hundred updates, and what a sample costs.

A block of updates begins with a sample, and is timed as a whole: NumPy's BLAS keeps its threads
spinning for some 50 ms after a call, which the updates that follow pay for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import normrnn as nr
from bench.peers.contract import Arrays
from bench.points import Array, Point, assert_close, make_problem

EVERY = 100  # a Monitor's default
COMPARED = ("loss", "weight_l2", "grad_l2", "weight_sigma")  # what hooks of PyTorch can see


class MonitorPoint(NamedTuple):
    """A block of updates: forward, loss, backward, Adam, and a record."""

    cell: str
    times: int  # T
    batch: int  # B
    inputs: int  # I
    hidden: int  # H
    every: int = EVERY
    steps: int = EVERY  # updates in a block
    sampled: tuple[str, ...] | None = None  # quantities; a Monitor's default if None
    ours = "our_norms:MONITOR"
    peaks = ()

    @property
    def shape(self) -> Point:
        """The network."""
        return Point(*self[:5])

    @property
    def option(self) -> str:
        """What is recorded, in words."""
        every = f"every {self.every}th update"
        what = "all of the default" if self.sampled is None else " and ".join(self.sampled)
        return f"{what or 'loss and info alone'}, {every}"

    @property
    def title(self) -> str:
        """The point as it is told while it is measured."""
        return f"{self.shape.title}, {self.option}"

    def problem(self) -> MonitorProblem:
        """Draw its arrays."""
        one = make_problem(self.shape)
        return MonitorProblem(self, one.x, 0.1 * one.dy, one.params)

    def work(self, _operation: str) -> dict[str, float]:
        """Count nothing: training is compared with that without a record."""
        return {}

    def check(self, _operation: str, got: Array, expected: Array) -> None:
        """Compare what was recorded; σ₁ is iterated to about 1e-3."""
        assert_close(got, expected, 2e-3)


@dataclass(frozen=True)
class MonitorProblem:
    """One point with its arrays."""

    point: MonitorPoint
    x: Array  # [T, B, I]
    target: Array  # [T, B, H]
    params: dict[str, Array]
    lr: float = 1e-3

    def read(self, monitor: nr.Monitor) -> Arrays:
        """Return what a first block has recorded: each loss, and norms of the first sample."""
        history = monitor.history
        found = {"loss": history["loss"]}
        for quantity in COMPARED[1:]:
            named = [values[0] for name, values in history.items() if name.startswith(quantity)]
            found[quantity] = np.sort(named)  # hooks come in another order
        return found
