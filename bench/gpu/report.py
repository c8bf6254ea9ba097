"""The GPU part of docs/benchmarks.md, from a run, between two markers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import tables
from bench.points import Point
from bench.report import DOCS, put_between

MARKERS = "<!-- gpu:begin -->", "<!-- gpu:end -->"


def write(result: Path, docs: Path = DOCS) -> None:
    """Rewrite the GPU part of docs/benchmarks.md; other text is kept."""
    data = json.loads(result.read_text(encoding="utf-8"))
    put_between(MARKERS, markdown(data), docs / "benchmarks.md")


def markdown(data: dict[str, Any]) -> str:
    """Return all tables of a run."""
    parts = [header(data["machine"])]
    for operation, name in tables.OPERATIONS.items():
        rows = [one for one in data["rows"] if operation in one.get("operations", {})]
        if rows:
            parts += [f"### {name}", side_by_side(rows, operation)]
    parts += ["### The update", updates(data["updates"])]
    absent = [one for one in data["rows"] if "operations" not in one or "failed" in one]
    if absent:
        lines = [f"- {name_of(one)}: {one.get('failed', one.get('left out'))}" for one in absent]
        parts += ["### Not measured", "\n".join(lines)]
    return "\n\n".join(parts)


def header(machine: dict[str, Any]) -> str:
    """Say where and with what it was measured, and how to read the tables."""
    peaks = machine["peaks"]
    rates = ", ".join(f"{n} {r / 1e12:.0f} TFLOP/s" for n, r in peaks.items() if n != "bandwidth")
    return (
        f"{machine['date']}, {machine['device']}, CUDA {machine['cuda']}, PyTorch "
        f"{machine['torch']} with cuDNN {machine['cudnn']}, normrnn {machine['normrnn']} at commit "
        f"{machine['commit']}. Measured in the same run: a copy moves "
        f"{peaks['bandwidth'] / 1e12:.2f} TB/s; large products {rates}.\n\n"
        "Milliseconds are medians by CUDA events, U x inside: a call of two to ten in a row, and "
        "one call alone, which the host has to prepare first. × is how many times as long cuDNN "
        "takes. The floor is the larger of the time for the bytes and the time for the operations; "
        "the gap is normrnn's time in a row over it."
    )


def name_of(row: dict[str, Any]) -> str:
    """Return "lstm 25×16×512×512, bfloat16"."""
    point = Point(*row["point"])
    shape = "×".join(map(str, (point.times, point.batch, point.inputs, point.hidden)))
    more = f", {point.layers} layers" * (point.layers > 1) + ", both ways" * point.bidirectional
    return f"{point.cell} {shape}{more}, {row['precision']}"


def side_by_side(rows: list[dict[str, Any]], operation: str) -> str:
    """Tabulate one operation's rows, and say the geometric mean of the ratios."""
    lines = [
        [
            "T×B×I×H, operands",
            "ms in a row",
            "µs a step",
            "× cuDNN",
            "ms alone",
            "× cuDNN",
            "floor, ms",
            "gap",
        ]
    ]
    ratios = []
    for row in rows:
        times = row["operations"][operation]
        ms, alone = times["in a row"], times["alone"]
        kind, least = max(times["floor"].items(), key=lambda one: one[1])
        ratios.append(ms["cudnn"] / ms["normrnn"])
        lines.append(
            [
                name_of(row),
                tables.digits(ms["normrnn"]),
                tables.digits(1e3 * ms["normrnn"] / row["point"][1]),
                tables.times(ratios[-1]),
                tables.digits(alone["normrnn"]),
                tables.times(alone["cudnn"] / alone["normrnn"]),
                f"{tables.digits(least)} ({kind})",
                tables.times(ms["normrnn"] / least),
            ]
        )
    mean = tables.times(tables.geometric_mean(ratios))
    return f"{tables.table(lines)}\n\nGeometric mean in a row: cuDNN takes {mean} × as long."


def updates(rows: list[dict[str, Any]]) -> str:
    """Tabulate the update."""
    lines = [["", "ms", "of the bandwidth"]]
    for row in rows:
        for name, ms in row["times"].items():
            what = f"{row['rule']}, {row['size'] / 1e6:.0f} M weights, {name}"
            lines.append([what, tables.digits(ms), f"{row['floor'] / ms:.0%}"])
    return tables.table(lines)
