"""The pictures of the papers' runs: what solves temporal order, learning curves, a choice of λ."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter
from PIL import Image

from bench.papers import adding, temporal_order
from bench.pictures import GREY, OURS, plain

Runs = list[dict[str, Any]]
BLUE, GREEN, PINK, PALE, DARK = "#0072B2", "#009E73", "#CC79A7", "#8C8C8C", "#222222"
ORDER = dict(zip((way.name for way in temporal_order.WAYS), (PALE, BLUE, GREEN, OURS), strict=True))
ADDING = dict(zip((way.name for way in adding.WAYS), (BLUE, GREEN, PALE, OURS, PINK), strict=True))
VOWELS = (PALE, BLUE, OURS, GREEN)  # for each deviation of noise


def save(figure: Figure, file: Path) -> None:
    """Write a PNG file of 256 colours, which is a third as large, and the folder if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    memory = BytesIO()
    figure.savefig(memory, format="png")
    Image.open(memory).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(
        file, optimize=True
    )


def order(runs: Runs) -> Figure:
    """Draw after how many updates each run solved the task or was given up."""
    lengths = sorted({run["length"] for run in runs})
    figure, panels = side_by_side(len(lengths), width=2 + 2.3 * len(lengths), height=3.5)
    for axes, length in zip(panels, lengths, strict=True):
        for y, (name, color) in enumerate(ORDER.items()):
            some = [run for run in runs if (run["length"], run["way"]) == (length, name)]
            for i, run in enumerate(some):
                place = y + 0.17 * (i - (len(some) - 1) / 2)
                axes.hlines(place, 1, run["updates"], color, alpha=0.35, linewidth=1.2)
                mark(axes, run["updates"], place, color, run["solved"])
            solved = sum(run["solved"] for run in some)
            if some:
                weight = "bold" if solved == len(some) else "normal"
                beside(axes, y, f"{solved}/{len(some)}", color, weight)
        axes.set(title=f"{length} steps", xlabel="updates", xscale="log", xlim=(1e3, 5e5))
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,g}"))
    panels[0].set_yticks(range(len(ORDER)), map(greek, ORDER))
    panels[0].set_ylim(len(ORDER) - 0.45, -0.55)
    add_legend(figure, [dot(GREY, "solved"), dot("white", "not solved when given up")])
    figure.suptitle("Temporal order: every run, and how many solved it")
    return figure


def curves(runs: Runs) -> Figure:
    """Draw each run's error over its updates, beside that of always answering 1."""
    lengths = sorted({run["length"] for run in runs})
    figure, panels = side_by_side(len(lengths), width=1 + 4.3 * len(lengths), height=3.9)
    for axes, length in zip(panels, lengths, strict=True):
        for level, label in (
            (adding.BASELINE, "1/6: always\nanswering 1"),
            (adding.SOLVED, "solved"),
        ):
            axes.axhline(level, color=GREY, linestyle="--", linewidth=1)
            beside(axes, level, label, GREY)
        for name, color in reversed(ADDING.items()):
            for run in (run for run in runs if (run["length"], run["way"]) == (length, name)):
                updates, errors = zip(*run["curve"], strict=True)
                axes.plot(updates, errors, color=color, linewidth=1.4)
                mark(axes, updates[-1], errors[-1], color, run["solved"])
        axes.set(title=f"{length} steps", xlabel="updates", xlim=(90, 1.2e5), ylim=(7e-4, 4))
        axes.set(xscale="log", yscale="log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,g}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    panels[0].set_ylabel("squared error on fresh sequences")
    lines = [Line2D([], [], color=color, label=greek(name)) for name, color in ADDING.items()]
    add_legend(figure, lines)
    figure.suptitle("The adding problem: every run until it is solved or given up")
    return figure


def vowels(runs: Runs) -> Figure:
    """Draw cross-validation over λ for each level of noise, and how the tested ones then did."""
    figure, (left, right) = side_by_side(2, width=10, height=3.9, sharey=False)
    strengths = sorted({run["strength"] for run in runs})
    colors = dict(zip(sorted({run["noise"] for run in runs}), VOWELS, strict=False))
    for noise, color in colors.items():
        some = [run for run in runs if run["noise"] == noise]
        some.sort(key=lambda run: run["strength"])
        places = [strengths.index(run["strength"]) for run in some]
        losses = [run["cross_entropy"] for run in some]
        left.plot(places, losses, "o-", color=color, label=f"noise {noise:g}", ms=5)
        for place, run in zip(places, some, strict=True):
            if run.get("chosen"):
                left.plot(place, run["cross_entropy"], "o", color=DARK, mfc="none", ms=14)
    left.set_xticks(range(len(strengths)), [f"{strength:g}" for strength in strengths])
    left.set(title="Cross-validation; the chosen two ringed", xlabel="λ of L2")
    left.set_ylabel("cross-entropy")
    left.legend(frameon=False)
    tested = [run for run in runs if "test_accuracy" in run]
    tested.sort(key=lambda run: (not run["chosen"], run["strength"]))
    for y, run in enumerate(tested):
        scores, color = run["test_accuracy"], colors[run["noise"]]
        for i, score in enumerate(scores):
            offset = 0.1 * (i - (len(scores) - 1) / 2)
            mark(right, score, y + offset, color, run["chosen"])
        right.plot([mean(scores)] * 2, [y - 0.3, y + 0.3], color=color, linewidth=3)
        right.text(mean(scores), y - 0.36, f"{mean(scores):.4f}", color=color, ha="center")
    names = [f"noise {run['noise']:g}, λ = {run['strength']:g}" for run in tested]
    right.set_yticks(range(len(tested)), names)
    right.set_ylim(len(tested) - 0.5, -0.65)
    right.set(title="370 test sequences, each seed and the mean", xlabel="accuracy")
    right.grid(axis="y", visible=False)
    add_legend(figure, [dot(GREY, "chosen"), dot("white", "looked at after the choice")])
    figure.suptitle("Japanese Vowels: noise and λ chosen on the training sequences alone")
    return figure


def side_by_side(
    count: int, width: float, height: float, sharey: bool = True
) -> tuple[Figure, Sequence[Axes]]:
    """Make panels in a row."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    panels = figure.subplots(1, count, sharey=sharey, squeeze=False)[0]
    for axes in panels:
        plain(axes)
    return figure, panels


def mark(axes: Axes, x: float, y: float, color: str, full: bool) -> None:
    """Draw a dot, or a ring."""
    axes.plot(x, y, "o", color=color, mfc=color if full else "white", ms=6, zorder=3)


def beside(axes: Axes, y: float, text: str, color: str, weight: str = "normal") -> None:
    """Write to the right of the axes."""
    place = axes.get_yaxis_transform()
    axes.text(1.02, y, text, transform=place, color=color, weight=weight, va="center")


def dot(fill: str, label: str) -> Line2D:
    """Make a legend's dot or, filled with white, ring."""
    return Line2D([], [], color=GREY, marker="o", linestyle="none", mfc=fill, label=label)


def add_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Put it below all panels."""
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def greek(name: str) -> str:
    """Write Ω as in the text."""
    return name.replace("Omega", "Ω")
