"""What the pictures share: axes, colours, labels beside what they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N = TypeVar("N")

# Okabe and Ito's colours, told apart with any kind of colour vision; yellow is left out, too pale
# for a line on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY, PALE = "#555555", "#dddddd"
STYLES = ("-", "--", ":", "-.")  # another for each further round of colours


class Plot(NamedTuple, Generic[N]):
    """What every plot returns.

    Attributes
    ----------
    ax : matplotlib.axes.Axes
        Where it was drawn; ``ax.figure.savefig(...)`` writes it.
    numbers : object
        What was drawn.
    """

    ax: Axes
    numbers: N


@dataclass(frozen=True, eq=False)
class Lines:
    """The numbers of a plot of lines.

    Attributes
    ----------
    x : ndarray, [N]
        Training steps or penalty strengths.
    y : dict of str to ndarray, [N]
        Each line by its label.
    """

    x: NDArray[Any]
    y: dict[str, NDArray[np.float64]]


def axes_for(ax: Axes | None, *, width: float = 6.4, height: float = 4.0) -> Axes:
    """Return `ax`, or those of a new figure; ImportError without matplotlib."""
    try:
        from matplotlib import pyplot
        from matplotlib.axes import Axes
    except ImportError as error:
        message = 'normrnn.plots: expected matplotlib, got none; pip install "normrnn[plots]"'
        raise ImportError(message) from error
    if ax is None:
        ax = pyplot.subplots(figsize=(width, height), layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise TypeError(f"ax: expected matplotlib axes or None, got {type(ax).__name__}")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color=PALE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(color=GREY)
    return ax


def line_style(i: int) -> dict[str, Any]:
    """Colour and dashes of the i-th line."""
    return {"color": COLORS[i % len(COLORS)], "linestyle": STYLES[i // len(COLORS) % len(STYLES)]}


def log_limits(ax: Axes, values: Sequence[float] | np.ndarray[Any, Any]) -> None:
    """Make y logarithmic, over whole decades that hold all values above 0."""
    from matplotlib.ticker import LogLocator, NullFormatter

    kept = np.asarray(values, np.float64)
    kept = kept[np.isfinite(kept) & (kept > 0)]
    ax.set_yscale("log")
    low, high = np.floor(np.log10([kept.min(), 10 * kept.max()])) if kept.size else (-1.0, 0.0)
    ax.set_ylim(10.0**low, 10.0**high)
    ax.yaxis.set_major_locator(LogLocator(numticks=8))
    # A log axis of few decades would else label every other line in between.
    ax.yaxis.set_minor_formatter(NullFormatter())


def label_ends(ax: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    """Write (text, y, colour) to the right of the axes, at y or as near as the others let it."""
    known = [end for end in ends if np.isfinite(end[1])]
    to_axes = ax.transData + ax.transAxes.inverted()
    x = ax.get_xlim()[1]
    wanted = [float(to_axes.transform((x, y))[1]) for _, y, _ in known]
    box = ax.get_window_extent()
    gap = 12.5 * ax.figure.get_dpi() / 72 / max(float(box.height), 1.0)  # a line of 9 points
    for (text, _, color), y in zip(known, _spread(wanted, gap), strict=True):
        ax.annotate(
            text,
            (1.0, y),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            color=color,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )


def _spread(wanted: list[float], gap: float) -> list[float]:
    """Move places in [0, 1] apart to at least `gap`: neighbours share the way between them."""
    order = np.argsort(wanted, kind="stable")
    # Places less what the labels below need must not fall: the nearest such sequence.
    base = np.arange(len(order)) * gap
    groups: list[tuple[float, int]] = []  # mean, members
    for want in np.clip(np.asarray(wanted)[order], 0, 1) - base:
        groups.append((float(want), 1))
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            (below, m), (above, n) = groups[-2:]
            groups[-2:] = [((below * m + above * n) / (m + n), m + n)]
    level = np.concatenate([[mean] * count for mean, count in groups]) if groups else base
    room = max(0.0, 1 - (len(order) - 1) * gap)  # all of them within the axes, if they fit
    places = np.empty(len(order))
    places[order] = np.clip(level, 0, room) + base
    return [float(place) for place in places]
