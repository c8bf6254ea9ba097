"""`python -m bench.papers TASK` trains what a paper trained, and writes what came out.

Run it in the repository's root. One JSON file for each task goes to bench/results/papers, where a
new run takes the place of an older one of the same kind; `report` writes docs/papers.md from them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import normrnn as nr
from bench import machine
from bench.papers import adding, japanese_vowels, report, temporal_order
from bench.papers.train import accuracy

RESULTS = Path(__file__).parents[1] / "results" / "papers"
Row = dict[str, Any]
KIND = ("length", "way", "seed", "noise", "strength")  # what tells runs apart


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser("python -m bench.papers", description=__doc__)
    parser.add_argument("task", choices=[*TASKS, "report"])
    parser.add_argument("--lengths", type=int, nargs="+", help="steps of a sequence")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind (%(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, help="of these (%(default)s)")
    parser.add_argument("--updates", type=int, default=60_000, help="at most (%(default)s)")
    parser.add_argument("--ways", nargs="+", help="names of the ways to train, or parts")
    parser.add_argument(
        "--jobs", type=int, default=machine.cores(), help="runs at a time (%(default)s)"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder (%(default)s)")
    options = parser.parse_args(arguments)
    if options.task == "report":
        report.write(options.output)
        return 0
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / f"{options.task}.json"
    facts = machine.facts(1)  # before a file changes, which git would call dirty
    for row in TASKS[options.task](options):
        print(json.dumps(row), flush=True)
        runs = ",\n".join(map(json.dumps, merged(file, row | {"commit": facts["commit"]})))
        text = f'{{"machine": {json.dumps(facts)},\n"runs": [\n{runs}\n]}}\n'
        file.write_text(text, encoding="utf-8")
    return 0


def merged(file: Path, row: Row) -> list[Row]:
    """Return the file's runs with this one, in place of one of the same kind."""
    runs = {tuple(run.get(name) for name in KIND): run for run in [*report.read(file), row]}
    return list(runs.values())


def is_wanted(name: str, names: Sequence[str], wanted: Sequence[str]) -> bool:
    """Say whether a name is asked for, by itself or, where no name is just that, by a part."""
    return any(name == part if part in names else part in name for part in wanted)


def timed(run: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Call in a process of its own, with one thread: small steps leave little to share."""
    nr.set_num_threads(1)
    start = time.process_time()
    outcome = asdict(run(*arguments))
    return outcome | {"seconds": round(time.process_time() - start, 1)}


def _grid(
    module: Any, default_lengths: Sequence[int], options: argparse.Namespace
) -> Iterator[Row]:
    names = [way.name for way in module.WAYS]
    ways = [way for way in module.WAYS if is_wanted(way.name, names, options.ways or [""])]
    lengths = options.lengths or default_lengths
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = [
            pool.submit(timed, module.run, way, length, seed, options.updates)
            for length, way, seed in itertools.product(lengths, ways, seeds)
        ]
        yield from (run.result() for run in as_completed(runs))


def _temporal_order(options: argparse.Namespace) -> Iterator[Row]:
    return _grid(temporal_order, (50, 100, 150, 200), options)


def _adding(options: argparse.Namespace) -> Iterator[Row]:
    return _grid(adding, (200, 600), options)


def _cross_validated(noise: float, strength: float) -> Row:
    nr.set_num_threads(1)
    right, lost = japanese_vowels.cross_validated(japanese_vowels.load().train, noise, strength)
    return {
        "noise": noise,
        "strength": strength,
        "cross_entropy": round(lost, 4),
        "cross_validated": round(right, 4),
    }


def _best(rows: Sequence[Row], penalised: bool) -> Row:
    """Return the row with the least cross-entropy of those with, or without, a penalty."""
    some = [row for row in rows if bool(row["strength"]) is penalised]
    return min(some, key=lambda row: row["cross_entropy"])


def _japanese_vowels(options: argparse.Namespace) -> Iterator[Row]:
    nr.set_num_threads(1)
    grid = list(itertools.product(japanese_vowels.NOISES, japanese_vowels.STRENGTHS))
    rows = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for row in pool.map(_cross_validated, *zip(*grid, strict=True)):
            rows.append(row)
            yield row
    chosen = [_best(rows, penalised) for penalised in (False, True)]
    # For comparison alone, looked at after the choice: the same without noise.
    quiet = [row for row in rows if not row["noise"]]
    later = [_best(quiet, penalised) for penalised in (False, True)]
    data = japanese_vowels.load()
    for tested in [*chosen, *(row for row in later if row not in chosen)]:
        scores, seconds = [], []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            start = time.process_time()
            network = japanese_vowels.train(data.train, tested["noise"], tested["strength"], seed)
            seconds.append(round(time.process_time() - start, 2))
            scores.append(round(accuracy(network, data.test), 4))
        yield tested | {
            "chosen": tested in chosen,
            "test_accuracy": scores,
            "seconds": seconds,
        }


TASKS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "temporal-order": _temporal_order,
    "adding": _adding,
    "japanese-vowels": _japanese_vowels,
}

if __name__ == "__main__":
    sys.exit(main())
