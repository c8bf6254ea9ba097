"""The pictures of the demonstrations, two panels each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normrnn.demo.report import WEIGHTS, Array, Run
from normrnn.plots._style import COLORS, axes_for, log_limits

RUN_COLORS = COLORS[1], COLORS[0]  # λ = 0, and L2


def text(runs: Sequence[Run], output: Path) -> None:
    """Draw the gradient through time, and the weights' norms over training."""
    figure, (left, right) = _two_panels()
    _gradient_panel(left, runs, "characters before the loss", "nats")
    for run, color in zip(runs, RUN_COLORS, strict=True):
        for (name, symbol), style in zip(WEIGHTS.items(), ("-", "--"), strict=True):
            label = f"{_math(symbol)}, {run.label}"
            right.plot(run.norms[name], style, color=color, label=label)
    right.set(
        title="Size of the weights",
        xlabel="training step",
        ylabel="Frobenius norm",
        xlim=(0, max(run.steps for run in runs)),
    )
    right.set_ylim(bottom=0)
    right.legend(frameon=False)
    figure.savefig(output, format="png")


def sunspots(
    runs: Sequence[Run],
    years: Array,
    measured: Array,
    forecasts: Sequence[Array],
    output: Path,
) -> None:
    """Draw forecasts [T] of each run beside what was measured, and the gradient through time."""
    figure, (left, right) = _two_panels()
    left.plot(years, measured, "o", color="black", markersize=3.5, label="measured")
    for run, forecast, color in zip(runs, forecasts, RUN_COLORS, strict=True):
        left.plot(years, forecast, color=color, label=f"{run.label}: RMSE {run.held_out:.1f}")
    left.set(
        title="Held-out years, each forecast from those before it",
        xlabel="year",
        ylabel="sunspot number",
        xlim=(years[0] - 1, years[-1] + 1),
    )
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.15 * (high - low))  # room for the legend
    left.legend(frameon=False, ncols=3, loc="upper center", fontsize="small")
    _gradient_panel(right, runs, "years before the loss", "scaled squared error")
    figure.savefig(output, format="png")


def _gradient_panel(axes: Axes, runs: Sequence[Run], xlabel: str, unit: str) -> None:
    for run, color in zip(runs, RUN_COLORS, strict=True):
        before = np.arange(len(run.h_norm))[::-1]
        axes.plot(before, run.h_norm, color=color, label=run.label)
    axes.set(
        title="Gradient on its way back through time",
        xlabel=xlabel,
        ylabel=rf"$\|\partial L/\partial h_t\|_2$ ({unit})",
        xlim=(len(runs[0].h_norm) - 1, 0),  # time runs to the right, as everywhere
    )
    log_limits(axes, np.concatenate([run.h_norm for run in runs]))
    axes.legend(frameon=False)


def _two_panels() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(11, 4.4), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    return figure, (axes_for(left), axes_for(right))


def _math(symbol: str) -> str:
    """Typeset ‖W_hh‖ as mathematics."""
    return "$\\|W_{" + symbol.strip("‖").split("_")[1] + "}\\|_F$"
