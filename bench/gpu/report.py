"""The GPU part of docs/benchmarks.md, from a run, between two markers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bench.gpu.points import OPERATIONS
from bench.points import Point

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- gpu:begin -->", "<!-- gpu:end -->"
NAMES = {
    "forward": "Forward, inference",
    "tape": "Forward with tape",
    "train": "Forward + backward",
}


def write(result: Path, docs: Path = DOCS) -> None:
    """Rewrite the GPU part of docs/benchmarks.md; other text is kept."""
    data = json.loads(result.read_text(encoding="utf-8"))
    page = docs / "benchmarks.md"
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"docs/benchmarks.md: expected one {BEGIN} and one {END} after it")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{markdown(data)}\n\n{END}{after}", encoding="utf-8")


def markdown(data: dict[str, Any]) -> str:
    """Return all tables of a run."""
    parts = [header(data["machine"])]
    for operation in OPERATIONS:
        rows = [one for one in data["rows"] if operation in one.get("operations", {})]
        if rows:
            parts += [f"### {NAMES[operation]}", table(rows, operation)]
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
        "Milliseconds are medians by CUDA events, U x inside. × is how many times as long cuDNN "
        "takes. The floor is the larger of the time for the bytes and the time for the operations; "
        "the gap is normrnn's time over it."
    )


def name_of(row: dict[str, Any]) -> str:
    """Return "lstm 25×16×512×512, bfloat16"."""
    point = Point(*row["point"])
    shape = "×".join(map(str, (point.times, point.batch, point.inputs, point.hidden)))
    more = f", {point.layers} layers" * (point.layers > 1) + ", both ways" * point.bidirectional
    return f"{point.cell} {shape}{more}, {row['precision']}"


def table(rows: list[dict[str, Any]], operation: str) -> str:
    """Return one operation's rows, and the geometric mean of the ratios."""
    lines = ["| point (T×B×I×H), operands | ms | µs a step | cuDNN × | floor, ms | gap |"]
    lines.append("|---|---|---|---|---|---|")
    logs = []
    for row in rows:
        times = row["operations"][operation]
        ms, ratio = times["normrnn"], times["cudnn"] / times["normrnn"]
        least = max(times["floor"].values())
        kind = max(times["floor"], key=times["floor"].get)
        logs.append(math.log(ratio))
        lines.append(
            f"| {name_of(row)} | {ms:.3f} | {1e3 * ms / row['point'][1]:.2f} | {ratio:.2f} | "
            f"{least:.3f} ({kind}) | {ms / least:.1f} |"
        )
    mean = math.exp(sum(logs) / len(logs))
    return "\n".join(lines) + f"\n\nGeometric mean: cuDNN takes {mean:.2f} × as long."


def updates(rows: list[dict[str, Any]]) -> str:
    """Return the update's table."""
    lines = ["| update | ms | of the bandwidth |", "|---|---|---|"]
    for row in rows:
        for name, ms in row["times"].items():
            what = f"{row['rule']}, {row['size'] / 1e6:.0f} M weights, {name}"
            lines.append(f"| {what} | {ms:.3f} | {100 * row['floor'] / ms:.0f} % |")
    return "\n".join(lines)
