"""Updates with penalties of weights, groups and matrices, constraints and clipped gradients.

Bytes counted are those that must move: weights and slots read and written, gradients read, and what
groups that are not rows need besides; rows are solved while they are in the cache, which counts
nothing. A gradient of other groups reads the weights once more. Their prox comes after the step:
weights are read and written once more; under Adam they and their step sizes are kept besides, and
read by the one of Newton's rounds that is counted. A centre, factors of the weights and clipping
read one more array each. Penalties of matrices do arithmetic, and no bytes are counted for them.
The look at the gradients before anything is changed is left out (``check_finite=False``), which no
peer takes; bench/update_points.py has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import normrnn as nr
from bench.points import Array, assert_close

LR, LAMBDA, SPECTRAL = 0.1, 0.1, 5.0  # so large that a check of the result sees a missing term
MOMENTUM = 0.9
W = "weight_hh_l0"
SMALL = (512, 128)  # rows and columns of what the second cache holds
HEAD = 128  # outputs, of "outgoing" groups
RULES = {
    "sgd": nr.SGD(LR),
    "momentum": nr.Momentum(LR, MOMENTUM),
    "nesterov": nr.Momentum(LR, MOMENTUM, nesterov=True),
    "adam": nr.Adam(LR),
    "adamw": nr.AdamW(LR),
}


def scheduled(step: int) -> float:
    """Return the strength at an update."""
    return LAMBDA / step**0.5


def bound(weights: int) -> float:
    """Return two thirds of what a group's norm is at first."""
    return weights**0.5 * 2 / 3


@dataclass(frozen=True)
class Option:
    """What an update has beside the plain one.

    `arguments` of `update` follow from the problem. `more` is how many arrays are read or written
    besides; `more_adam` under Adam; None if arithmetic counts. `square` is whether any matrix will
    do, or it takes gates.
    """

    arguments: Callable[[UpdateProblem], dict[str, Any]]
    more: int | None = 0
    more_adam: int | None = None
    gates: bool = False


def penalty(make: Callable[[UpdateProblem], Any], *more: int | None, gates: bool = False) -> Option:
    """Make the option of a penalty."""
    return Option(lambda problem: {"penalty": make(problem)}, *more, gates=gates)


def prox(one: nr.penalties.Penalty, *more: int | None, gates: bool = False) -> Option:
    """Make the option of a penalty's proximal step."""
    return penalty(lambda _: nr.Prox(one), *more, gates=gates)


ELEMENTWISE = {
    "nothing": Option(lambda _: {}),
    "L2": penalty(lambda _: nr.L2(LAMBDA)),
    "L2, a function of the step": penalty(lambda _: nr.L2(scheduled)),
    "L2 with center": penalty(lambda problem: nr.L2(LAMBDA, center=problem.array), 1),
    "L2 with weights": penalty(lambda problem: nr.L2(LAMBDA, weights=problem.array), 1),
    "L1": penalty(lambda _: nr.L1(LAMBDA)),
    "ElasticNet": penalty(lambda _: nr.ElasticNet(LAMBDA, LAMBDA)),
    "Prox(L2)": prox(nr.L2(LAMBDA)),
    "Prox(L1)": prox(nr.L1(LAMBDA)),
    "Prox(ElasticNet)": prox(nr.ElasticNet(LAMBDA, LAMBDA)),
    "NonNegative": penalty(lambda _: nr.NonNegative()),
}
CLIPS = {
    "clip_norm": Option(lambda _: {"clip_norm": 1.0}, 1),
    "clip_value": Option(lambda _: {"clip_value": 0.5}, 1),
    "clip_ratio": Option(lambda _: {"clip_ratio": 0.01}, 1),
}
GROUPS = {
    "GroupLasso, rows": penalty(lambda _: nr.GroupLasso(LAMBDA)),
    "GroupLasso, columns": penalty(lambda _: nr.GroupLasso(LAMBDA, groups="columns"), 1),
    "GroupLasso, gates": penalty(lambda _: nr.GroupLasso(LAMBDA, groups="gates"), 1, gates=True),
    "GroupLasso, outgoing": penalty(
        lambda _: nr.GroupLasso(LAMBDA, groups="outgoing"), 1, gates=True
    ),
    "Prox(GroupLasso), rows": prox(nr.GroupLasso(LAMBDA)),
    "Prox(GroupLasso), columns": prox(nr.GroupLasso(LAMBDA, groups="columns"), 2, 8),
    "Prox(GroupLasso), gates": prox(nr.GroupLasso(LAMBDA, groups="gates"), 2, 8, gates=True),
    "Prox(GroupLasso), outgoing": prox(nr.GroupLasso(LAMBDA, groups="outgoing"), 2, 8, gates=True),
    "Prox(SparseGroupLasso), rows": prox(nr.SparseGroupLasso(LAMBDA, LAMBDA)),
    "MaxNorm, rows": penalty(lambda problem: nr.MaxNorm(bound(problem.point.columns))),
    "MaxNorm, columns": penalty(
        lambda problem: nr.MaxNorm(bound(problem.point.rows), groups="columns"), 2
    ),
    "UnitNorm, rows": penalty(lambda _: nr.UnitNorm()),
}
MATRICES = {
    "SoftOrthogonality": penalty(lambda _: nr.SoftOrthogonality(LAMBDA), None),
    "NuclearNorm": penalty(lambda _: nr.NuclearNorm(LAMBDA), None),
    "Prox(NuclearNorm)": prox(nr.NuclearNorm(LAMBDA), None),
    "SpectralNorm": penalty(lambda _: nr.SpectralNorm(SPECTRAL), None),
    "SpectralCap": penalty(lambda _: nr.SpectralCap(1.0), None),
}
OPTIONS = {**ELEMENTWISE, **CLIPS, **GROUPS, **MATRICES}


class PenaltyPoint(NamedTuple):
    """One update of a matrix by a rule, with an option."""

    option: str  # a key of OPTIONS
    rule: str  # a key of RULES
    rows: int
    columns: int
    ours = "our_norms:UPDATES"

    @property
    def peaks(self) -> tuple[str, ...]:
        """Which peaks count: bandwidth, where not all is in the caches."""
        small = (self.rows, self.columns) == SMALL
        return () if small or self.more_arrays is None else ("bandwidth",)

    @property
    def title(self) -> str:
        """The point as it is told while it is measured."""
        return f"{self.rule} with {self.option}, {self.rows} × {self.columns} weights"

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """The parameters: "outgoing" groups also have a head."""
        head = {"weight_hy": (HEAD, self.columns)} if "outgoing" in self.option else {}
        return {W: (self.rows, self.columns), **head}

    def problem(self) -> UpdateProblem:
        """Draw its arrays."""
        return make_problem(self)

    @property
    def arrays(self) -> int:
        """Arrays that must pass in the plain update."""
        return 3 + 2 * len(RULES[self.rule].slots)

    @property
    def more_arrays(self) -> int | None:
        """Arrays that must pass besides; None if arithmetic counts."""
        option = OPTIONS[self.option]
        if self.rule == "adam" and option.more_adam is not None:
            return option.more_adam
        return option.more

    def work(self, _operation: str) -> dict[str, float]:
        """Count the bytes that must move, if they are what counts."""
        more = self.more_arrays
        weights = sum(a * b for a, b in self.shapes.values())
        return {} if more is None else {"bytes": 4 * weights * (self.arrays + more)}

    def check(self, _operation: str, got: Array, expected: Array) -> None:
        """Compare results.

        Adam's first step has the size of lr whatever the gradient's: where loss and penalty cancel,
        rounding decides on its sign.
        """
        if self.rule == "adam":
            scale = max(1.0, float(np.abs(expected).max()))
            close = np.isclose(got, expected, rtol=0, atol=2e-4 * scale)
            assert np.mean(~close) < 1e-4, f"{np.sum(~close)} of {close.size} weights are apart"
        else:
            assert_close(got, expected)


@dataclass(frozen=True)
class UpdateProblem:
    """One point with its arrays, which an update changes in place."""

    point: PenaltyPoint
    params: dict[str, Array]
    grads: dict[str, Array]
    array: Array  # [rows, columns], from 0.5 to 1.5: a centre, or factors of the weights

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of `update` for the option."""
        return OPTIONS[self.point.option].arguments(self)


def make_problem(point: PenaltyPoint) -> UpdateProblem:
    """Draw the same arrays in every process."""
    rng = np.random.default_rng(0)
    params, grads = (
        {name: rng.standard_normal(shape, np.float32) for name, shape in point.shapes.items()}
        for _ in range(2)
    )
    array = rng.random((point.rows, point.columns), np.float32) + np.float32(0.5)
    problem = UpdateProblem(point, params, grads, array)
    if point.option in MATRICES:
        hold(problem)
    return problem


def hold(problem: UpdateProblem) -> None:
    """Make a recurrent matrix, and a gradient of the loss that keeps it where it is.

    Near the end of a training loss and penalty balance. Otherwise the penalty would have taken away
    all that it works on after some hundred calls.
    """
    w, g = problem.params[W], problem.grads[W]
    w *= np.float32(problem.point.columns**-0.5)
    g *= np.float32(1e-6)
    given = problem.arguments["penalty"]
    g -= getattr(given, "penalty", given).gradient(w)
