"""How much of each gate sits at its bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from normrnn.diagnostics import Saturation
from normrnn.plots._style import COLORS, GREY, Plot, axes_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["gate_saturation"]


def gate_saturation(saturation: Saturation, *, ax: Axes | None = None) -> Plot[Saturation]:
    """Draw the share of activations at the lower (left) and at the upper bound (right), by gate.

    Bars are means over units; the thin lines reach from the tenth to the ninetieth percentile of
    the units.

    Parameters
    ----------
    saturation : Saturation
        From `normrnn.diagnostics.saturation`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Plot
        The axes, and the Saturation that is drawn.

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> out = nr.forward("gru", np.ones((9, 2, 3), "f"), nr.init_params("gru", 3, 8))
    >>> ax, found = nr.plots.gate_saturation(nr.diagnostics.saturation(out.tape))
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['l0  r', 'l0  z', 'l0  n']
    """
    if not isinstance(saturation, Saturation):
        got = type(saturation).__name__
        raise TypeError(f"saturation: expected what diagnostics.saturation returns, got {got}")
    from_runs = [f"{n.replace('_', ' ')}  {g}" for n in saturation.names for g in saturation.gates]
    # A gap between layers.
    rows = np.array([i + 0.6 * (i // len(saturation.gates)) for i in range(len(from_runs))])
    ax = axes_for(ax, height=1.4 + 0.28 * (float(rows[-1]) + 1))
    largest = 0.0
    sides = ((-1, saturation.low, COLORS[0]), (1, saturation.high, COLORS[1]))
    for sign, fractions, color in sides:
        units = 100 * sign * fractions.reshape(len(rows), -1)  # [rows, H], in %
        means = units.mean(axis=1)
        ax.barh(rows, means, height=0.72, color=color)
        spread = np.percentile(units, [10, 90], axis=1)
        largest = max(largest, float(np.nanmax(np.abs([means, *spread]), initial=0)))
        ax.hlines(rows, spread[0], spread[1], color="black", linewidth=1)
        for row, mean, reach in zip(rows, means, np.abs(spread).max(axis=0), strict=True):
            ax.annotate(
                f"{abs(mean):.0f} %",
                (sign * max(abs(mean), reach), row),
                xytext=(sign * 4, 0),
                textcoords="offset points",
                ha="left" if sign > 0 else "right",
                va="center",
                fontsize=8,
                color=GREY,
            )
    ax.axvline(0, color="black", linewidth=0.8)
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set_yticks(rows, from_runs)
    ax.invert_yaxis()
    limit = next(nice for nice in (5, 10, 20, 50, 100) if largest <= nice)
    ax.set(xlim=(-1.18 * limit, 1.18 * limit), xlabel="share of activations (%)")
    ticks = [-limit, -limit / 2, 0, limit / 2, limit]
    ax.set_xticks(ticks, [f"{abs(tick):g}" for tick in ticks])
    for sign, text, color in ((-1, "lower", COLORS[0]), (1, "upper", COLORS[1])):
        ax.text(
            0.5 + 0.02 * sign,
            1.02,
            f"at the {text} bound",
            transform=ax.transAxes,
            ha="right" if sign < 0 else "left",
            va="bottom",
            color=color,
        )
    return Plot(ax, saturation)
