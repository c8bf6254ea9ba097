"""The pictures of a run: how near to the peak, how far ahead of the best peer, and scaling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.tables import OPERATIONS, SHAPES, Entry, everyone, geometric_mean, select, times

# Mostly Okabe and Ito's colours; markers differ, too, for eyes that see them alike.
OURS, LIGHT = "#D55E00", "#F8D5BC"
STYLE = {
    "normrnn": (OURS, "o"),
    "torch": ("#0072B2", "s"),
    "torch-compiled": ("#56B4E9", "D"),
    "jax": ("#009E73", "^"),
    "onnxruntime": ("#CC79A7", "v"),
    "openvino": ("#6A3D9A", "P"),
    "onednn": ("#8C8C8C", "X"),
    "numpy": ("#222222", "d"),
    "numba": ("#B8A100", "*"),
}
GREY = "#555555"
AXES = {
    "scaling T": ("times", "time steps T"),
    "scaling B": ("batch", "batch B"),
    "scaling H": ("hidden", "hidden units H (= I)"),
    "scaling threads": ("threads", "threads"),
}


def draw(data: dict[str, Any], folder: Path, page: str = "benchmarks") -> dict[str, str]:
    """Draw what the run has rows for, for a page; return the files' names and captions."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [one for one in data["rows"] if "median" in one["results"].get("normrnn", {})]
    shapes = [one for one in rows if one["group"] in SHAPES]
    figures = {}
    if shapes:
        figures["peak"] = of_peak(data, shapes), "Fraction of the FMA peak by shape"
        figures["best"] = ahead(shapes), "Time of the best peer over normrnn's by shape"
    if any(one["group"] in AXES for one in rows):
        figures["scaling"] = scaling(rows), "Time against T, B, H and threads"
    for name, (figure, _) in figures.items():
        figure.savefig(folder / f"{page}-{name}.png", format="png")
    return {f"{page}-{name}.png": caption for name, (_, caption) in figures.items()}


def of_peak(data: dict[str, Any], rows: Sequence[Entry]) -> Figure:
    """Draw a bar for normrnn and a mark for each peer, forward beside forward + backward."""
    titles = in_order(rows)
    figure, panels = by_shape(titles, ("forward", "train"), width=12)
    for axes, operation in zip(panels, ("forward", "train"), strict=True):
        highest_of_all = 1.0
        for one in select(rows, SHAPES, operation):
            y = titles.index(one["title"])
            axes.barh(y, one["fraction"], height=0.62, color=LIGHT, zorder=2)
            axes.plot([one["fraction"]] * 2, [y - 0.31, y + 0.31], color=OURS, linewidth=4)
            highest = one["fraction"]
            for name, ratio in one.get("ratios", {}).items():
                color, marker = STYLE[name]
                x = one["fraction"] / ratio
                highest = max(highest, x)
                axes.plot(x, y, marker, color=color, markeredgecolor="white", ms=7, zorder=3)
            highest_of_all = max(highest_of_all, highest)
            axes.text(
                highest + 0.02, y, f"{one['fraction']:.0%}", va="center", color=OURS, weight="bold"
            )
        axes.set(title=OPERATIONS[operation], xlabel="fraction of the machine's FMA peak")
        axes.set_xlim(0, highest_of_all + 0.08)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0%}"))
    machine = data["machine"]
    figure.suptitle(
        f"How much of the machine each library uses — {machine['cpu']}, "
        f"{machine['threads']} threads, float32"
    )
    add_legend(figure, everyone(rows))
    return figure


def ahead(rows: Sequence[Entry]) -> Figure:
    """Draw how many times as long the fastest peer takes for every shape, and which it is."""
    titles = in_order(rows)
    figure, panels = by_shape(titles, tuple(OPERATIONS), width=14)
    best: set[str] = set()
    for axes, (operation, name) in zip(panels, OPERATIONS.items(), strict=True):
        some = [one for one in select(rows, SHAPES, operation) if "best_peer" in one]
        ratios = [one["ratios"][one["best_peer"]] for one in some]
        for one, ratio in zip(some, ratios, strict=True):
            y = titles.index(one["title"])
            best.add(one["best_peer"])
            color = STYLE[one["best_peer"]][0]
            axes.barh(y, ratio - 1, left=1, height=0.62, color=color, alpha=0.85, zorder=2)
            above = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # the dashed line
            told = f"{times(ratio)}×"
            axes.text(max(ratio, 1) * 1.04, y, told, va="center", color=GREY, bbox=above)
        axes.axvline(1, color="black", linewidth=1, zorder=3)
        mean = geometric_mean(ratios)
        axes.set(
            title=f"{name}: geometric mean {times(mean)}×", xlabel="best peer's time / normrnn's"
        )
        axes.set_xscale("log", base=2)
        axes.set_xlim(min(0.7, *ratios) / 1.1, max(2.0, *ratios) * 1.5)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.axvline(mean, color=OURS, linestyle="--", linewidth=1.2, zorder=1)
    figure.suptitle("How many times as long the fastest other library takes")
    add_legend(figure, [name for name in STYLE if name in best])
    return figure


def scaling(rows: Sequence[Entry]) -> Figure:
    """Draw time against T, B, H and threads, one line for each library; threads with the ideal."""
    groups = {group: axis for group, axis in AXES.items() if select(rows, (group,), "train")}
    figure = Figure(figsize=(3.5 * len(groups), 7), dpi=110, layout="constrained")
    panels = figure.subplots(2, len(groups), squeeze=False)
    for line, operation in zip(panels, ("forward", "train"), strict=True):
        for axes, (group, (size, label)) in zip(line, groups.items(), strict=True):
            some = select(rows, (group,), operation)
            for name in reversed(everyone(some)):  # normrnn above the others
                seen = [one for one in some if "median" in one["results"].get(name, {})]
                sizes = [
                    one["threads"] if size == "threads" else one["point"][size] for one in seen
                ]
                medians = [1e3 * one["results"][name]["median"] for one in seen]
                color, marker = STYLE[name]
                wide = (
                    {"linewidth": 3, "ms": 7} if name == "normrnn" else {"linewidth": 1.3, "ms": 5}
                )
                axes.plot(sizes, medians, marker=marker, color=color, **wide)
                if name == "normrnn" and size == "threads" and medians:
                    ideal = [medians[0] * sizes[0] / k for k in sizes]
                    axes.plot(sizes, ideal, "--", color=GREY, linewidth=1, label="ideal")
                    axes.legend(frameon=False)
            plain(axes)
            axes.set_xscale("log", base=10 if size == "times" else 2)
            axes.set_yscale("log")
            axes.set(xlabel=label, ylabel=f"{OPERATIONS[operation].lower()}, ms")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.set_title(fixed(some[0], size), fontsize="medium", color=GREY)
    figure.suptitle("How time grows with the problem, and shrinks with threads (lower is better)")
    add_legend(figure, everyone([one for one in rows if one["group"] in AXES]))
    return figure


def fixed(one: Entry, size: str) -> str:
    """Name the sizes that a scaling panel holds fixed."""
    point = one["point"]
    letters = {"T": "times", "B": "batch", "I": "inputs", "H": "hidden"}
    varied = {"hidden": "inputs"}.get(size), size
    kept = [f"{letter}{point[name]}" for letter, name in letters.items() if name not in varied]
    return f"{point['cell']} {' '.join(kept)}"


def in_order(rows: Sequence[Entry]) -> list[str]:
    """Sort the titles by cell, then by work: the order in which they stand on the axis."""
    cells = list(dict.fromkeys(one["point"]["cell"] for one in rows))
    work = {one["title"]: (cells.index(one["point"]["cell"]), one["flops"]) for one in rows}
    return sorted(work, key=work.__getitem__)


def by_shape(titles: Sequence[str], operations: Sequence[str], width: float) -> tuple[Figure, Any]:
    """Make a panel for each operation, with the shapes on a common vertical axis."""
    height = 2 + 0.3 * len(titles)
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(operations), sharey=True)
    for axes in panels:
        plain(axes)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(titles)), titles)
    panels[0].set_ylim(len(titles) - 0.4, -0.6)
    return figure, panels


def plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e3e3e3", linewidth=0.6)
    axes.set_axisbelow(True)


def add_legend(figure: Figure, names: Sequence[str]) -> None:
    """Name the libraries once for all panels."""
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="none", ms=8, label=name)
        for name, (color, marker) in STYLE.items()
        if name in names
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=9, frameon=False)
