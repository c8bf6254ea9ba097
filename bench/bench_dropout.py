"""A training step (forward and backward) with each kind of dropout, as a ratio of the plain step.

Both are timed in turn and the shortest times compared, so that what else the machine does falls on
both. Where PyTorch is installed, its way of doing the same is timed along with them.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import pytest

import normrnn as nr
from bench.points import Point, assert_close, make_problem
from normrnn import reference

KINDS = ["input", "output", "between", "state", "candidate", "weight", "zoneout_h", "zoneout_c"]
POINTS = [
    (cell, hidden, kind)
    for cell in ("gru", "lstm")
    for hidden in (128, 256)
    for kind in (KINDS if cell == "lstm" else KINDS[:-1])  # the GRU has no c
]
ROUNDS = 30
P = 0.3


def shortest(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds that each call takes at best, all of them in turn."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


@pytest.mark.parametrize(("cell", "hidden", "kind"), POINTS)
def test_dropout(cell: str, hidden: int, kind: str, benchmark: Any, machine: Any) -> None:
    problem = make_problem(Point(cell, 100, 32, 128, hidden, layers=1 + (kind == "between")))
    x, params, dy, drop = problem.x, problem.params, problem.dy, nr.Dropout(**{kind: P})
    expected = reference.forward(cell, x, params, dropout=drop, seed=1)
    assert_close(nr.forward(cell, x, params, dropout=drop, seed=1).y, expected.y)

    def step(**forward: Any) -> object:
        return nr.backward(nr.forward(cell, x, params, **forward).tape, dy)

    calls = {"plain": step, "dropped": lambda: step(dropout=drop, seed=1)}
    if importlib.util.find_spec("torch"):
        from bench.peers.torch_dropout import train_step

        calls["torch"] = train_step(problem, kind, P, nr.get_num_threads())
    best = shortest(calls)
    benchmark.pedantic(calls["dropped"], rounds=3)
    benchmark.extra_info["times of the plain step"] = best["dropped"] / best["plain"]
    if "torch" in best:
        benchmark.extra_info["times of PyTorch's step"] = best["dropped"] / best["torch"]
