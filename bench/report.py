"""Put a run into docs/benchmarks.md, between two markers, and its pictures beside it."""

from __future__ import annotations

import json
from pathlib import Path

from bench import pictures, tables

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def write(result: Path, docs: Path = DOCS) -> None:
    """Rewrite the tables and pictures of docs/benchmarks.md from a run; other text is kept."""
    data = json.loads(result.read_text(encoding="utf-8"))
    drawn = pictures.draw(data, docs / "pictures")
    shown = "\n\n".join(f"![{caption}](pictures/{name})" for name, caption in drawn.items())
    page = docs / "benchmarks.md"
    text = between_markers(
        page.read_text(encoding="utf-8"), f"{tables.markdown(data)}\n\n### Pictures\n\n{shown}"
    )
    page.write_text(text, encoding="utf-8")


def between_markers(text: str, generated: str) -> str:
    """Replace what stands between the markers.

    Raises
    ------
    ValueError
        If there is not one of each, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"docs/benchmarks.md: expected one {BEGIN} and one {END} after it")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{generated}\n\n{END}{after}"
