"""The points of the weight update: a rule, a penalty and how many weights there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.points import Array, assert_close

SLOTS = {"sgd": 0, "adam": 2}  # arrays as large as the weights that a rule keeps
NAMES = {"sgd": "SGD", "adam": "Adam"}


class UpdatePoint(NamedTuple):
    """One update of a large model's weights."""

    rule: str  # "sgd" or "adam"
    size: int  # weights in all
    # Both are larger than one would train with, so that a check of the result sees a missing term.
    lr: float = 0.01
    decay: float = 0.1  # weight decay as PyTorch counts it: 2 λ
    check_finite: bool = True  # whether normrnn looks at the gradients first; no peer does
    ours = "ours:UPDATE"
    peaks = ("flops", "bandwidth")

    @property
    def title(self) -> str:
        """The point as the tables name it."""
        unchecked = "" if self.check_finite else ", check_finite=False"
        return f"{NAMES[self.rule]} with L2, {self.size / 1e6:.0f} M weights{unchecked}"

    def problem(self) -> UpdateProblem:
        """Draw its arrays."""
        return make_update_problem(self)

    def work(self, _operation: str) -> dict[str, float]:
        """Count what must move."""
        return {"bytes": self.bytes}

    def check(self, _operation: str, got: Array, expected: Array) -> None:
        """Compare results."""
        assert_close(got, expected)

    @property
    def streams(self) -> int:
        """Arrays that must pass: weights and slots read and written, gradients read."""
        return 3 + 2 * SLOTS[self.rule]

    @property
    def bytes(self) -> int:
        """What must move between memory and core in float32."""
        return 4 * self.size * self.streams


@dataclass(frozen=True)
class UpdateProblem:
    """One point with its arrays, which an update changes in place."""

    point: UpdatePoint
    params: dict[str, Array]
    grads: dict[str, Array]


def make_update_problem(point: UpdatePoint) -> UpdateProblem:
    """Draw weights as a network has them: some large matrices."""
    rng = np.random.default_rng(0)
    shape = (4, point.size // 16, 4)  # four matrices of a quarter each
    params, grads = (
        {f"weight_{k}": one for k, one in enumerate(rng.standard_normal(shape, np.float32))}
        for _ in range(2)
    )
    return UpdateProblem(point, params, grads)
