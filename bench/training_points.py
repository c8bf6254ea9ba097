"""Whole training steps: forward pass, head, loss, back-propagation, and a clipped update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import normrnn as nr
from bench.points import Array, Point


class TrainingPoint(NamedTuple):
    """A small network that learns to tell one number at each step.

    Mean squared error, gradients clipped to a norm, Adam with L2 on all weights but biases.
    """

    cell: str
    times: int  # T
    batch: int  # B
    inputs: int  # I
    hidden: int  # H
    # So large, and the norm so small, that a comparison sees a missing term.
    lr: float = 0.01
    decay: float = 0.1  # as PyTorch counts it: 2 λ
    clip_norm: float = 0.1
    ours = "ours:TRAINING"
    peaks = ("flops", "bandwidth")

    @property
    def network(self) -> Point:
        """The recurrent network by itself."""
        return Point(self.cell, self.times, self.batch, self.inputs, self.hidden)

    @property
    def title(self) -> str:
        """The point as the tables name it."""
        return f"{self.network.title}, Adam, L2, clipped"

    def problem(self) -> TrainingProblem:
        """Draw its arrays."""
        rng = np.random.default_rng(0)
        rows = (self.times, self.batch)
        return TrainingProblem(
            self,
            x=rng.standard_normal((*rows, self.inputs), np.float32),
            target=rng.standard_normal((*rows, 1), np.float32),
            params=nr.init_params(self.cell, self.inputs, self.hidden, output_size=1),
        )

    def work(self, _operation: str) -> dict[str, float]:
        """Count the flops of the network's products, which are nearly all."""
        return {"flops": 3 * self.network.flops}

    def check(self, _operation: str, got: Array, expected: Array) -> None:
        """Compare weights after two steps, each of which moves a weight by up to lr.

        Two, for Adam's first is the same however much gradients were scaled. Rounding decides which
        way it goes where a gradient is next to nothing, so a few weights may differ.
        """
        assert np.linalg.norm(got - expected) <= 0.05 * self.lr * np.sqrt(got.size)


@dataclass(frozen=True)
class TrainingProblem:
    """One point with its arrays; a step changes the parameters in place."""

    point: TrainingPoint
    x: Array  # [T, B, I]
    target: Array  # [T, B, 1]
    params: dict[str, Array]
