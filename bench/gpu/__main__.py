"""`python -m bench.gpu` measures on the GPU; `python -m bench.gpu report FILE` tells it.

One JSON file, bench/results/gpu-DEVICE.json, and the GPU part of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import normrnn as nr
from bench import machine
from bench.gpu import points, report
from bench.tables import OPERATIONS

if TYPE_CHECKING:
    from bench.gpu.contenders import Calls

RESULTS = Path(__file__).parents[1] / "results"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 1 if results differed or something failed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser("python -m bench.gpu", description=__doc__)
    if arguments[:1] == ["report"]:
        parser.add_argument("result", type=Path)
        report.write(parser.parse_args(arguments[1:]).result)
        return 0
    parser.add_argument("--quick", action="store_true", help="small points, to see that all works")
    parser.add_argument("--groups", nargs="+", choices=sorted(points.POINTS))
    parser.add_argument("--precisions", nargs="+", choices=points.PRECISIONS)
    parser.add_argument("--seconds", type=float, default=480, help="for all of it (%(default)s)")
    parser.add_argument("--output", type=Path, help="bench/results/gpu-DEVICE.json, unless given")
    given = parser.parse_args(arguments)
    if not nr.device.device_count():
        print("no GPU, or normrnn was built without CUDA: nothing measured")
        return 0
    facts = device_facts()
    slug = re.sub(r"[^a-z0-9]+", "-", facts["device"].lower()).strip("-")
    output = given.output or RESULTS / f"gpu-{slug}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    old = json.loads(output.read_text(encoding="utf-8")) if output.exists() else None
    for found in measure(given, facts):
        data = merged(old, found)
        write(output, data)
    failed = [row for row in data["rows"] if "failed" in row]
    for row in failed:
        print(f"not as it should be: {row['point']} {row['precision']}: {row['failed']}")
    print(f"written: {output}; now `python -m bench.gpu report {output}`")
    return 1 if failed else 0


def write(output: Path, data: dict[str, Any]) -> None:
    """Replace a file at once, so that whoever is cut off leaves a whole one."""
    part = output.with_suffix(".part")
    part.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    part.replace(output)


def merged(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """Add to a run what an earlier one measured besides, with the same software on such a device.

    Time on a GPU may be too short for all groups at once.
    """
    same = ("device", "torch", "cudnn", "cuda", "normrnn", "commit")
    if old is None or any(old["machine"].get(name) != new["machine"].get(name) for name in same):
        return new
    rows = {(tuple(row["point"]), row["precision"]): row for row in old["rows"]}
    for row in new["rows"]:
        key = tuple(row["point"]), row["precision"]
        if key not in rows or "left out" not in row:
            rows[key] = row
    return {**new, "rows": list(rows.values())}


def device_facts() -> dict[str, Any]:
    """Collect what a reader needs to judge the figures, and the device's peaks."""
    import torch

    from bench.gpu import timing

    facts = machine.facts(1) | {"cudnn": torch.backends.cudnn.version()}
    facts |= {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    return facts | {"cuda": torch.version.cuda, "peaks": timing.peaks()}


def measure(given: argparse.Namespace, facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Measure all rows, or as many as the time allows; yields all that is known after each."""
    import torch

    found = facts["peaks"]
    data: dict[str, Any] = {"machine": facts, "rows": [], "updates": []}
    until = time.monotonic() + given.seconds
    size = 1 << 20 if given.quick else points.UPDATE_SIZE
    for rule, streams in points.UPDATE_STREAMS.items():
        data["updates"].append(measure_update(rule, size, streams, found["bandwidth"]))
    yield data
    listed = points.QUICK if given.quick else points.POINTS
    for group in given.groups or listed:
        for point in listed.get(group, []):
            for precision in given.precisions or points.PRECISIONS:
                row = {"group": group, "point": list(point), "precision": precision}
                if time.monotonic() > until:
                    row["left out"] = "the time was over"
                else:
                    nr.device.release_memory()  # what the point before had
                    torch.cuda.empty_cache()
                    row |= measure_point(point, precision, found)
                data["rows"].append(row)
                print(row, flush=True)
                yield data


def measure_point(point: Any, precision: str, peaks: dict[str, float]) -> dict[str, Any]:
    """Check that both agree, time them in turns, and check again what was timed last.

    By then the loops are recorded, and what is timed is those recordings.
    """
    from bench.gpu import contenders, timing
    from bench.points import make_problem

    timing.set_precision(precision)
    problem = make_problem(point)
    try:
        own, peer = contenders.ours(problem, precision), contenders.cudnn(problem, precision)
        # Of a million units of ReLU a few are so near 0 that rounding switches them.
        bound = (10 if point.cell == "rnn_relu" else 1) * contenders.AGREEMENT[precision]
        row = compared(own, peer, bound)
        if "failed" in row:
            return row
        row["operations"] = {}
        for operation in OPERATIONS:
            calls = {"normrnn": own[operation], "cudnn": peer[operation]}
            alone = timing.side_by_side(calls, 0.1)
            row["operations"][operation] = {
                "floor": points.floor(point, operation, precision, peaks),
                "alone": medians(alone),
                "in a row": medians(timing.side_by_side(calls, 0.1, timing.row_of(alone))),
            }
        again = compared(own, peer, bound)
        if "failed" in again:
            return again | {"failed": f"once timed, {again['failed']}"}
        return row
    except (RuntimeError, MemoryError) as error:  # told in the results, and by the exit status
        return {"failed": f"{type(error).__name__}: {error}"}


def compared(own: Calls, peer: Calls, bound: float) -> dict[str, Any]:
    """Return the largest difference, of which array it is, and whether that is a failure."""
    from bench.gpu import contenders

    apart = {}
    for operation in ("forward", "train"):
        apart |= contenders.differences(own[operation](), peer[operation]())
    worst = max(apart, key=lambda name: math.inf if math.isnan(apart[name]) else apart[name])
    row = {"difference": apart[worst], "of": worst}
    return (
        row if apart[worst] <= bound else row | {"failed": f"{worst} differs by {apart[worst]:.1e}"}
    )


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of each contender's times."""
    return {name: statistics.median(each) for name, each in times.items()}


def measure_update(rule: str, size: int, streams: int, bandwidth: float) -> dict[str, Any]:
    """Time updates of many weights, some in a row."""
    from bench.gpu import contenders, timing

    times = timing.side_by_side(contenders.updates(rule, size), 0.3, timing.ROW)
    return {
        "rule": rule,
        "size": size,
        "floor": 1e3 * 4 * size * streams / bandwidth,
        "times": medians(times),
    }


if __name__ == "__main__":
    sys.exit(main())
