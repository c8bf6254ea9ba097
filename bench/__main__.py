"""`python -m bench` measures normrnn beside its peers; `python -m bench report FILE` tells it.

Run it in the repository's root, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench import machine, suite
from bench.norms import suite as norms
from bench.run import Run

RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 1 if a peer's results differed or it failed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["report"]:
        return report(arguments[1:])
    return measure(arguments)


def measure(arguments: list[str]) -> int:
    """Measure, and write one JSON file."""
    known = suite.rows(1, quick=True, complete=False)
    names = sorted({name for row in known for name in row.contenders} - {"normrnn"})
    groups = list(dict.fromkeys(row.group for row in known))
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small points, to see that all works")
    parser.add_argument("--all", action="store_true", help="the whole DeepBench table")
    parser.add_argument(
        "--groups", nargs="+", choices=["norms", *groups], help="these rows only; norms: its eight"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep the rows that the file has, measure the others"
    )
    parser.add_argument("--peers", nargs="+", choices=names, help="beside these only")
    parser.add_argument("--repeats", type=int, default=7, help="rounds at most (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=3600, help="time for all of it, roughly (%(default)s)"
    )
    parser.add_argument("--threads", type=int, default=machine.cores(), help="all cores")
    parser.add_argument(
        "--output",
        type=Path,
        help="the file; by default bench/results/DATE.json, or norms-DATE.json for norms alone",
    )
    given = parser.parse_args(arguments)
    if not 1 <= given.threads <= machine.cores():
        parser.error(f"--threads: expected 1 to {machine.cores()}, got {given.threads}")
    wanted = set(groups if given.groups is None else given.groups)
    if "norms" in wanted:
        wanted |= set(norms.GROUPS)
    rows = suite.rows(given.threads, quick=given.quick, complete=given.all)
    alone = wanted <= {"norms", *norms.GROUPS}
    run = Run(
        rows=[row for row in rows if row.group in wanted],
        wanted=None if given.peers is None else set(given.peers),
        repeats=given.repeats,
        seconds=given.seconds,
        output=given.output or RESULTS / f"{'norms-' * alone}{machine.today()}.json",
        threads=given.threads,
        resume=given.resume,
    )
    run.output.parent.mkdir(parents=True, exist_ok=True)
    run.measure()
    for name, version in run.data["peers"].items():
        print(f"{name}: {version}")
    for mistake in run.mistakes:
        print(f"not as it should be: {mistake}", file=sys.stderr)
    print(f"written: {run.output}; now `python -m bench report {run.output}`")
    return 1 if run.mistakes else 0


def report(arguments: list[str]) -> int:
    """Write tables and pictures of a run."""
    from bench.report import write  # needs matplotlib

    parser = argparse.ArgumentParser("python -m bench report", description=write.__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="files that `python -m bench` wrote")
    parser.add_argument(
        "--page",
        default="benchmarks",
        choices=["benchmarks", "benchmarks-amx", "benchmarks-avx2"],
        help="of docs/ (%(default)s)",
    )
    given = parser.parse_args(arguments)
    write(given.results, page=given.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
