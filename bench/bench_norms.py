"""What holds a network in check, against the NumPy reference and against the step without.

The rows of `python -m bench --groups norms` at their larger size, where they are checked against
PyTorch and timed beside it. Here every result is checked against the reference before it is timed.
"""

from __future__ import annotations

from typing import Any

import pytest

import normrnn as nr
from bench.norms import suite
from bench.norms.updates import SMALL
from bench.peers import our_norms
from bench.row import PLAIN, STEP, Row
from bench.worker import Engine, compare

ROWS = [
    row
    for row in suite.rows(1, quick=False)
    if row.point.ours in our_norms.REFERENCES
    and getattr(row.point, "hidden", 256) == 256
    and getattr(row.point, "rule", "sgd") in ("sgd", "adam")
    and tuple(row.point[2:]) != SMALL
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.group}-{row.point.title}")
def test_norms(row: Row, benchmark: Any, machine: object) -> None:
    engine = Engine(row.contenders["normrnn"], nr.get_num_threads())
    fresh = engine.peer.prepare(row.point.problem(), engine.threads)
    true = our_norms.REFERENCES[row.point.ours](row.point.problem())
    got, expected = (calls[STEP].read(calls[STEP].run()) for calls in (fresh, true))
    compare(STEP, got, expected, row.point.check)

    engine.prepare(row.point, (STEP, PLAIN))
    found = engine.turn((STEP, PLAIN), seconds=0.5)
    ratios = sorted(a / b for a, b in zip(found[STEP], found[PLAIN], strict=True))
    benchmark.extra_info["the step without"] = round(ratios[len(ratios) // 2], 2)
    benchmark.pedantic(engine.calls[STEP].run, rounds=5, warmup_rounds=1)
