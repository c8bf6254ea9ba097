"""`python -m bench.papers TASK` trains what a paper trained, and writes what came out.

Run it in the repository's root. One JSON file for each task goes to bench/results/papers; `report`
writes docs/papers.md from those that are there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import normrnn as nr
from bench import machine
from bench.papers import adding, japanese_vowels, report, temporal_order
from bench.papers.train import accuracy

RESULTS = Path(__file__).parents[1] / "results" / "papers"
Rows = Iterable[dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser("python -m bench.papers", description=__doc__)
    parser.add_argument("task", choices=[*TASKS, "report"])
    parser.add_argument("--lengths", type=int, nargs="+", help="steps of a sequence")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind (%(default)s)")
    parser.add_argument("--updates", type=int, default=60_000, help="at most (%(default)s)")
    parser.add_argument("--ways", nargs="+", help="parts of the names of the ways to train")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder (%(default)s)")
    options = parser.parse_args(arguments)
    if options.task == "report":
        report.write(options.output)
        return 0
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / f"{options.task}.json"
    rows: list[dict[str, Any]] = []
    for row in TASKS[options.task](options):
        rows.append(row)
        print(json.dumps(row), flush=True)
        text = json.dumps({"machine": machine.facts(1), "runs": rows}, indent=1)
        file.write_text(text + "\n", encoding="utf-8")
    return 0


def timed(run: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Call in a process of its own, with one thread: small steps leave little to share."""
    nr.set_num_threads(1)
    start = time.perf_counter()
    outcome = asdict(run(*arguments))
    return outcome | {"seconds": round(time.perf_counter() - start, 1)}


def _grid(module: Any, default_lengths: Sequence[int], options: argparse.Namespace) -> Rows:
    wanted = options.ways or [""]
    ways = [way for way in module.WAYS if any(part in way.name for part in wanted)]
    lengths = options.lengths or default_lengths
    with ProcessPoolExecutor(machine.cores()) as pool:
        runs = [
            pool.submit(timed, module.run, way, length, seed, options.updates)
            for length, way, seed in itertools.product(lengths, ways, range(options.seeds))
        ]
        yield from (run.result() for run in runs)


def _temporal_order(options: argparse.Namespace) -> Rows:
    return _grid(temporal_order, (50, 100, 150, 200), options)


def _adding(options: argparse.Namespace) -> Rows:
    return _grid(adding, (200, 600), options)


def _japanese_vowels(options: argparse.Namespace) -> Rows:
    data = japanese_vowels.load()
    for strength in japanese_vowels.STRENGTHS:
        scores, seconds = [], []
        for seed in range(options.seeds):
            start = time.perf_counter()
            network = japanese_vowels.train(data.train, strength, seed)
            seconds.append(round(time.perf_counter() - start, 2))
            scores.append(round(accuracy(network, data.test), 4))
        # Other seeds than those of the test: the choice sees the training sequences alone.
        chosen_by = japanese_vowels.cross_validated(data.train, strength, range(100, 103))
        yield {
            "strength": strength,
            "cross_validated": round(chosen_by, 4),
            "test_accuracy": scores,
            "seconds": seconds,
        }


TASKS: dict[str, Callable[[argparse.Namespace], Rows]] = {
    "temporal-order": _temporal_order,
    "adding": _adding,
    "japanese-vowels": _japanese_vowels,
}

if __name__ == "__main__":
    sys.exit(main())
