"""The rows of `--groups norms`, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.norms import steps, updates
from bench.norms.monitor import MonitorPoint
from bench.norms.steps import StepPoint
from bench.norms.updates import PenaltyPoint
from bench.peers import INSTEAD, MONITOR, STEPS, UPDATES
from bench.row import PLAIN, STEP, TURN, Row

GROUPS = (
    "states",
    "dropout",
    "layer norm",
    "elementwise",
    "clips",
    "weight groups",
    "matrices",
    "monitor",
)
SHORT = 0.06  # seconds of a turn: enough for a dozen updates of 4 million weights
FOUR = ("sgd", "momentum", "adam", "adamw")
SAMPLED = ("weight_l2", "weight_sigma", "grad_l2", "flow", "saturation", "silent")


def rows(threads: int, *, quick: bool) -> list[Row]:
    """List the rows: T100 B32 I128 with 128 and 256 units, and updates of large and small arrays.

    `quick` has small ones, to see the whole chain at work.
    """
    times, inputs = (5, 8) if quick else (100, 128)
    batch = 3 if quick else 32
    widths = (16,) if quick else (128, 256)

    def listed(
        group: str, points: Iterable[Any], peers: dict[str, str], turn: float = TURN
    ) -> list[Row]:
        return [Row(group, p, (STEP,), takers(p, peers), threads, PLAIN, turn) for p in points]

    def of_steps(options: Iterable[str], batches: Iterable[int]) -> list[StepPoint]:
        return [
            StepPoint(option, cell, times, b, inputs, hidden)
            for option in options
            for cell in steps.OPTIONS[option].cells
            for b in batches
            for hidden in widths
        ]

    def of_updates(options: Iterable[str], rules: Iterable[str]) -> list[PenaltyPoint]:
        return [
            PenaltyPoint(option, rule, *shape)
            for option in options
            for rule in rules
            for shape in shapes(option, quick=quick)
        ]

    long = (times, batch, 64, widths[0])
    block = 10 if quick else 100
    monitors = [MonitorPoint(cell, *long, block, block) for cell in ("lstm", "rnn_tanh")]
    parts = [(), *((name,) for name in SAMPLED)]
    monitors += [MonitorPoint("lstm", *long, 10, 10, sampled) for sampled in parts]
    return [
        *listed("states", of_steps(steps.STATES, [batch]), STEPS),
        *listed("dropout", of_steps(steps.DROPOUT, [batch]), STEPS),
        *listed("layer norm", of_steps(["itself"], [batch, 1]), STEPS),
        *listed("elementwise", of_updates(updates.ELEMENTWISE, updates.RULES), UPDATES, SHORT),
        *listed("clips", of_updates(updates.CLIPS, FOUR), UPDATES, SHORT),
        *listed("weight groups", of_updates(updates.GROUPS, FOUR), UPDATES, SHORT),
        *listed("matrices", of_updates(updates.MATRICES, ["sgd"]), UPDATES),
        *listed("monitor", monitors, MONITOR),
    ]


def shapes(option: str, *, quick: bool) -> list[tuple[int, int]]:
    """Return rows and columns: 4 million weights, and what the second cache holds."""
    if option in updates.MATRICES:
        return [(8, 8)] if quick else [(512, 512), (128, 128)]
    if quick:
        return [(64, 16)]
    large = (4096, 1024) if updates.OPTIONS[option].gates else (2048, 2048)
    return [large, updates.SMALL]


def takers(point: Any, peers: dict[str, str]) -> dict[str, str]:
    """Name who takes part: who has the same remedy, or a parametrization of weights instead."""
    lacking = set()
    if isinstance(point, PenaltyPoint) and point.option not in INSTEAD:
        lacking = {"torch-parametrized"}
    if isinstance(point, MonitorPoint) and point.sampled is not None:
        lacking = {"torch"}  # its hooks are timed with all that they see
    return {name: place for name, place in peers.items() if name not in lacking}
