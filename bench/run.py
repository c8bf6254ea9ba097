"""One run: rows one after another, the peers of a row in turns, medians, all into one JSON file."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.machine import facts
from bench.row import Row
from bench.team import Team, Worker
from bench.worker import DiffersError, UnableError

Ready = tuple[Worker, dict[str, float]]  # a worker, and rough seconds of its operations


@dataclass
class Run:
    """A run under way, and what it has found so far."""

    rows: list[Row]
    wanted: set[str] | None  # names of the peers to measure; all if None
    repeats: int
    seconds: float
    output: Path
    threads: int
    resume: bool = False  # whether rows that `output` has are kept, and not measured again
    data: dict[str, Any] = field(init=False)
    mistakes: list[str] = field(default_factory=list)  # peers that differed or failed

    def __post_init__(self) -> None:
        self.data = {"machine": facts(self.threads), "peers": {}, "rows": []}
        if self.resume and self.output.exists():
            begun = json.loads(self.output.read_text(encoding="utf-8"))
            for name in ("commit", "cpu", "target", "threads"):
                now, then = (one["machine"][name] for one in (self.data, begun))
                if now != then:
                    raise ValueError(f"{self.output}: expected {name} {now} to go on, got {then}")
            self.data = begun
            known = {(row["group"], row["title"]) for row in begun["rows"]}
            self.rows = [r for r in self.rows if (r.group, r.point.title) not in known]

    def measure(self) -> None:
        """Measure all rows; the file is complete after each."""
        end = time.monotonic() + self.seconds
        numbered = enumerate(self.rows)
        for threads, some in itertools.groupby(numbered, key=lambda one: one[1].threads):
            with Team(threads) as team:
                for k, row in some:
                    print(f"[{k + 1}/{len(self.rows)}] {row.group}: {row.point.title}", flush=True)
                    left = max(0.0, end - time.monotonic())
                    share = left / (len(self.rows) - k)
                    self.data["rows"] += self._row(team, row, share, out_of_time=left == 0)
                    self.data["peers"] |= team.versions
                    save(self.data, self.output)

    def _row(
        self, team: Team, row: Row, share: float, *, out_of_time: bool
    ) -> list[dict[str, Any]]:
        """Measure one row: an entry for each operation."""
        begun = time.monotonic()
        names = [n for n in row.contenders if self.wanted is None or n in self.wanted | {"normrnn"}]
        ready: dict[str, Ready] = {}
        excuses: dict[str, str] = {}
        peaks: dict[str, float] = {}
        for name in names:
            if out_of_time:
                excuses[name] = "not measured: the time was up"
                continue
            try:
                worker = team.worker(name, row.contenders[name])
                if name == "normrnn":
                    peaks = self._peaks(worker, row)
                wanted = row.operations + (() if row.beside is None else (row.beside,))
                ready[name] = worker, worker.ask("prepare", row.point, wanted)
            except UnableError as error:
                excuses[name] = self._excuse(name, row, error)
        left = share - (time.monotonic() - begun)
        entries = []
        for operation in row.operations:
            some = {name: one for name, one in ready.items() if operation in one[1]}
            lacking = {n: "inference only" for n in ready if n not in some}
            seconds = left / len(row.operations)
            samples, beside, lost = self._turns(row, some, operation, seconds, peaks)
            entry = describe(row, operation, samples, excuses | lacking | lost, peaks, beside)
            if operation == "tape" and "normrnn" in ready:
                entry["tape_bytes"] = ready["normrnn"][0].ask("tape_bytes")
                entry["tape_bytes_needed"] = row.point.tape_bytes
            entries.append(entry)
        return entries

    def _turns(
        self,
        row: Row,
        some: dict[str, Ready],
        operation: str,
        seconds: float,
        peaks: dict[str, float],
    ) -> tuple[dict[str, list[float]], list[float], dict[str, str]]:
        """Let all take turns, each round begun by the next, as often as time allows.

        Where bytes count each round begins with the bandwidth, whose median goes into `peaks`:
        memory is shared with whoever else is on the machine, and by turns twice as fast.
        """
        excuses: dict[str, str] = {}
        samples: dict[str, list[float]] = {name: [] for name in some}
        beside: list[float] = []
        bandwidths: list[float] = []
        of_bytes = "bandwidth" in row.point.peaks and "bytes" in row.point.work(operation)
        round_seconds = sum(max(row.turn, e[operation]) + 0.05 for _, e in some.values())
        rounds = max(1, min(self.repeats, int(seconds / round_seconds))) if some else 0
        for k in range(rounds):
            names = list(samples)
            if of_bytes and "normrnn" in names:
                bandwidths.append(some["normrnn"][0].ask("peaks", ["bandwidth"])["bandwidth"])
            for name in names[k % len(names) :] + names[: k % len(names)]:
                operations = tuple(o for o in (operation, row.beside) if o in some[name][1])
                try:
                    found = some[name][0].ask("turn", operations, row.turn)
                except UnableError as error:
                    excuses[name] = self._excuse(name, row, error)
                    del samples[name]
                    continue
                samples[name] += found[operation]
                if name == "normrnn" and row.beside is not None:
                    beside += found[row.beside]
        if bandwidths:
            peaks["bandwidth"] = statistics.median(bandwidths)
        return samples, beside, excuses

    def _excuse(self, name: str, row: Row, error: UnableError) -> str:
        """Return why a peer has no figures, and keep in mind what should not be so."""
        if isinstance(error, DiffersError):
            self.mistakes.append(f"{name}, {row.point.title}: {error}")
        return str(error)

    def _peaks(self, worker: Worker, row: Row) -> dict[str, float]:
        """Measure the peaks again; the run's are the highest, for what else runs can only lower."""
        known = self.data["machine"]["peaks"].setdefault(str(row.threads), {})
        peaks: dict[str, float] = worker.ask("peaks", row.point.peaks)
        for name, value in peaks.items():
            known[name] = max(value, known.get(name, 0.0))
        return peaks


def describe(
    row: Row,
    operation: str,
    samples: dict[str, list[float]],
    excuses: dict[str, str],
    peaks: dict[str, float],
    beside: Sequence[float] = (),
) -> dict[str, Any]:
    """Write down one operation of a row, with ratios of the peers' medians to normrnn's.

    `beside` are normrnn's times of the same without what the row is about, each taken just after
    the sample of the same place. The cost is the median of the ratios of such neighbours, which a
    slow phase of the machine meets alike. Peaks are those of the row.
    """
    results: dict[str, Any] = {name: summary(times) for name, times in samples.items()}
    results |= {name: {"why": why} for name, why in excuses.items()}
    entry: dict[str, Any] = {
        "group": row.group,
        "point": row.point._asdict(),
        "title": row.point.title,
        "operation": operation,
        "threads": row.threads,
    }
    work = row.point.work(operation)
    entry |= work
    if "bytes" in work:
        entry["bandwidth"] = peaks.get("bandwidth")
    if beside:
        ratios = [a / b for a, b in zip(samples["normrnn"], beside, strict=True)]
        entry |= {"beside": summary(beside), "cost": summary(ratios)}
    ours = results.get("normrnn", {}).get("median")
    others = {n: r["median"] for n, r in results.items() if n != "normrnn" and "median" in r}
    if ours and others:
        entry["ratios"] = {name: median / ours for name, median in others.items()}
        entry["best_peer"] = min(others, key=others.__getitem__)
    return entry | {"results": {name: results[name] for name in row.contenders if name in results}}


def set_fractions(data: dict[str, Any]) -> None:
    """Set beside every row which fraction normrnn reached.

    Of the run's highest rate of multiply-adds, or for an update of the bandwidth between its turns.
    """
    for entry in data["rows"]:
        median = entry["results"].get("normrnn", {}).get("median")
        if median and "flops" in entry:
            peak = data["machine"]["peaks"][str(entry["threads"])]["flops"]
            entry["fraction"] = entry["flops"] / median / peak
        elif median and entry.get("bandwidth"):
            entry["fraction"] = entry["bytes"] / median / entry["bandwidth"]


def summary(times: Sequence[float]) -> dict[str, Any]:
    """Return median and quartiles, and of how many samples."""
    q1, median, q3 = (
        statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else [*times] * 3
    )
    return {"median": median, "q1": q1, "q3": q3, "samples": len(times)}


def save(data: dict[str, Any], output: Path) -> None:
    """Write the file anew, whole or not at all."""
    set_fractions(data)
    rounded = json.loads(json.dumps(data), parse_float=lambda text: float(f"{float(text):.4g}"))
    partial = output.with_suffix(".partial")
    partial.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    partial.replace(output)
