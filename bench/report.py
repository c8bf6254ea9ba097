"""Put a run into docs/benchmarks.md, between two markers, and its pictures beside it."""

from __future__ import annotations

import json
from pathlib import Path

from bench import pictures, tables

DOCS = Path(__file__).parents[1] / "docs"
MARKERS = "<!-- bench:begin -->", "<!-- bench:end -->"


def write(result: Path, docs: Path = DOCS) -> None:
    """Rewrite the tables and pictures of docs/benchmarks.md from a run; other text is kept."""
    data = json.loads(result.read_text(encoding="utf-8"))
    drawn = pictures.draw(data, docs / "pictures")
    shown = "\n\n".join(f"![{caption}](pictures/{name})" for name, caption in drawn.items())
    put_between(
        MARKERS, f"{tables.markdown(data)}\n\n### Pictures\n\n{shown}", docs / "benchmarks.md"
    )


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
