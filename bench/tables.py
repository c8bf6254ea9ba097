"""A run as Markdown tables: times, fractions of the peaks, ratios to the peers and their means."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

Entry = dict[str, Any]

SHAPES = ("public", "deepbench")  # the groups of which geometric means are taken
OPERATIONS = {
    "forward": "Forward, inference",
    "tape": "Forward with tape",
    "train": "Forward + backward",
}
OTHERS = {
    "call": "One small call",
    "training": "A whole training step of a small network",
    "ragged": "Ragged batches",
    "update": "The update",
    "bfloat16": "Operands in bfloat16",
}


def markdown(data: dict[str, Any]) -> str:
    """Return all tables of a run, with a line about the machine first."""
    rows = [one for one in data["rows"] if "median" in one["results"].get("normrnn", {})]
    parts = [header(data), "### In short", means(rows)]
    for operation, name in OPERATIONS.items():
        some = select(rows, SHAPES, operation)
        if some:
            parts += [f"### {name}", side_by_side(some)]
    for group, name in OTHERS.items():
        some = [one for one in rows if one["group"] == group]
        if some:
            parts += [f"### {name}", side_by_side(some)]
    parts += [tape_sizes(rows), absent(data)]
    return "\n\n".join(part for part in parts if part)


def header(data: dict[str, Any]) -> str:
    """Say where and with what it was measured, and how to read the tables."""
    reading = (
        "Times are medians of normrnn's, U x inside. A peer's column says how many times as long "
        "it took; the best peer's is bold, and a dash says that it cannot do the row."
    )
    return f"{measured_on(data)}\n\n{built_with(data)}\n\n{reading}"


def measured_on(data: dict[str, Any]) -> str:
    """Say on what it was measured, and what that can do at best."""
    machine = data["machine"]
    threads = machine["threads"]
    peaks = machine["peaks"].get(str(threads), {})
    rates = {
        "flops": "GFLOP/s of float32 multiply-adds",
        "bandwidth": "GB/s over a plain update's three streams",
    }
    reached = [f"{peaks[name] / 1e9:.0f} {unit}" for name, unit in rates.items() if name in peaks]
    at_best = f" Highest rates measured in the same run: {', '.join(reached)}." if reached else ""
    return (
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['system']}; "
        f"{threads} threads, target {machine['target']}, {machine['compiler']}, commit "
        f"{machine['commit']}.{at_best}"
    )


def built_with(data: dict[str, Any]) -> str:
    """List the versions, and who is absent."""
    found = [f"{name} {v}" for name, v in data["peers"].items() if is_version(v)]
    missing = [f"{name}: {v}" for name, v in data["peers"].items() if not is_version(v)]
    return f"{', '.join(found)}." + (f" Absent: {'; '.join(missing)}." if missing else "")


def is_version(told: str) -> bool:
    return not told.startswith(("not ", "failed", "took"))


def select(rows: Sequence[Entry], groups: Sequence[str], operation: str) -> list[Entry]:
    return [one for one in rows if one["group"] in groups and one["operation"] == operation]


def means(rows: Sequence[Entry]) -> str:
    """Tabulate geometric means of the ratios over all shapes, and how often normrnn is fastest."""
    lines = [
        ["over all shapes", "× best peer", "fastest at", "× PyTorch", "× NumPy", "of FMA peak"]
    ]
    for operation, name in OPERATIONS.items():
        some = [one for one in select(rows, SHAPES, operation) if "ratios" in one]
        if some:
            best = [min(one["ratios"].values()) for one in some]
            lines.append(
                [
                    name,
                    times(geometric_mean(best)),
                    f"{sum(ratio > 1 for ratio in best)} of {len(best)}",
                    *(
                        times(geometric_mean([e["ratios"][p] for e in some if p in e["ratios"]]))
                        for p in ("torch", "numpy")
                    ),
                    f"{geometric_mean([one['fraction'] for one in some]):.0%}",
                ]
            )
    return table(lines) + "\n\nGeometric means; a ratio above 1 says that normrnn is faster."


def side_by_side(rows: Sequence[Entry]) -> str:
    """Tabulate normrnn's times, with a column of ratios for each peer that has any."""
    names = [n for n in everyone(rows) if any(n in one.get("ratios", {}) for one in rows)]
    several = len({one["operation"] for one in rows}) > 1
    lines = [["", "ms", "µs a step", "of peak", *(f"× {name}" for name in names)]]
    for one in rows:
        what = f", {OPERATIONS[one['operation']].lower()}" if several else ""
        median = one["results"]["normrnn"]["median"]
        ratios = one.get("ratios", {})
        steps = one["point"].get("times")
        lines.append(
            [
                one["title"] + what,
                digits(1e3 * median),
                digits(1e6 * median / steps) if steps else "—",
                f"{one['fraction']:.0%}" if "fraction" in one else "—",
                *(mark(ratios.get(name), name == one.get("best_peer")) for name in names),
            ]
        )
    with_ratios = [one["ratios"] for one in rows if "ratios" in one]
    if len(with_ratios) > 2:
        columns = [[r[name] for r in with_ratios if name in r] for name in names]
        lines.append(
            ["geometric mean", "", "", "", *(times(geometric_mean(column)) for column in columns)]
        )
    return table(lines)


def tape_sizes(rows: Sequence[Entry]) -> str:
    """Tabulate the tape's bytes beside those that the equations need, where the run knows them."""
    known = [one for one in rows if one.get("tape_bytes")]
    if not known:
        return ""
    lines = [["", "tape, MB", "the equations need", "ratio"]]
    for one in known:
        has, needs = one["tape_bytes"], one["tape_bytes_needed"]
        lines.append([one["title"], f"{has / 1e6:.3g}", f"{needs / 1e6:.3g}", f"{has / needs:.2f}"])
    return f"### Memory\n\n{table(lines)}"


def absent(data: dict[str, Any]) -> str:
    """List every row that a peer did not do, by reason."""
    reasons: dict[tuple[str, str], int] = defaultdict(int)
    for one in data["rows"]:
        for name, result in one["results"].items():
            if "why" in result:
                reasons[name, result["why"]] += 1
    if not reasons:
        return ""
    lines = [["", "why", "rows"], *([n, why, str(k)] for (n, why), k in reasons.items())]
    return f"### Not measured\n\n{table(lines)}"


def everyone(rows: Sequence[Entry]) -> list[str]:
    """Name who takes part in some of the rows, in order."""
    return list(dict.fromkeys(name for one in rows for name in one["results"]))


def geometric_mean(values: Sequence[float]) -> float:
    """Return exp(mean(log)), NaN of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def digits(value: float) -> str:
    """Write three digits, or all before the point."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def times(ratio: float) -> str:
    return "—" if math.isnan(ratio) else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def mark(ratio: float | None, best: bool) -> str:
    told = times(math.nan if ratio is None else ratio)
    return f"**{told}**" if best else told


def table(lines: Sequence[Sequence[str]]) -> str:
    """Write Markdown; the first line is the head."""
    head, *body = ("| " + " | ".join(cells) + " |" for cells in lines)
    rule = "|---" + "|---:" * (len(lines[0]) - 1) + "|"
    return "\n".join([head, rule, *body])
