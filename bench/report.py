"""Put a run into a page of docs/, between two markers, and its pictures beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import pictures, tables
from bench.norms import suite as norms
from bench.norms import tables as norm_tables

DOCS = Path(__file__).parents[1] / "docs"
MARKERS = "<!-- bench:begin -->", "<!-- bench:end -->"
NORMS = "<!-- norms:begin -->", "<!-- norms:end -->"


def write(results: Sequence[Path], docs: Path = DOCS, page: str = "benchmarks") -> None:
    """Rewrite the tables and pictures of a page of docs/ from a run; other text is kept.

    A run of norms, of other groups or of both rewrites what it has rows for.
    Peers that only the runs after the first have join its rows, with their ratios to normrnn in
    their own run: some take an hour to compile what others do at once.
    """
    data, *others = (json.loads(result.read_text(encoding="utf-8")) for result in results)
    for other in others:
        add_peers(data, other)
    file = docs / f"{page}.md"
    groups = {row["group"] for row in data["rows"]}
    if groups & set(norms.GROUPS):
        put_between(NORMS, norm_tables.markdown(data), file)
    if groups - set(norms.GROUPS):
        some = data | {"rows": [r for r in data["rows"] if r["group"] not in norms.GROUPS]}
        drawn = pictures.draw(some, docs / "pictures", page)
        shown = "\n\n".join(f"![{caption}](pictures/{name})" for name, caption in drawn.items())
        put_between(MARKERS, f"{tables.markdown(some)}\n\n### Pictures\n\n{shown}", file)


def add_peers(data: dict[str, Any], other: dict[str, Any]) -> None:
    """Add to a run the peers that only another run has."""
    new = other["peers"].keys() - data["peers"].keys()
    data["peers"] |= {name: f"{other['peers'][name]} (in a run of its own)" for name in new}
    rows = {_place(row): row for row in data["rows"]}
    for theirs in other["rows"]:
        row = rows.get(_place(theirs))
        if row is None:
            continue
        row["results"] |= {n: result for n, result in theirs["results"].items() if n in new}
        ratios = {n: ratio for n, ratio in theirs.get("ratios", {}).items() if n in new}
        if ratios:
            row["ratios"] = row.get("ratios", {}) | ratios
            row["best_peer"] = min(row["ratios"], key=row["ratios"].__getitem__)


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["group"], row["title"], row["operation"], row["threads"]


def put_between(markers: tuple[str, str], generated: str, page: Path) -> None:
    """Replace what stands between two markers of a page; other text is kept.

    Raises
    ------
    ValueError
        If there is not one of each, in order.
    """
    begin, end = markers
    text = page.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{page.name}: expected one {begin} and one {end} after it")
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{begin}\n\n{generated}\n\n{end}{after}", encoding="utf-8")
