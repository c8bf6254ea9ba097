"""The gradient of the states through time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from normrnn.diagnostics import GradientFlow
from normrnn.diagnostics import gradient_flow as flow_of
from normrnn.diagnostics._names import Array
from normrnn.plots._style import Plot, axes_for, label_ends, line_style, log_limits
from normrnn.results import Gradients

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["gradient_flow"]


def gradient_flow(
    h_norm: Array | Gradients,
    *,
    directions: int | None = None,
    lengths: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Plot[GradientFlow]:
    """Draw ‖∂L/∂h_t‖ over time for each layer and direction, on a log axis.

    A straight line that falls to the left is a gradient that vanishes on its way back. Beside each
    line stands the factor per step back, from the fit of `normrnn.diagnostics.gradient_flow`. What
    is exactly 0 has no place on a log axis and is left out.

    Parameters
    ----------
    h_norm, directions, lengths
        As for `normrnn.diagnostics.gradient_flow`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Plot
        The axes, and the GradientFlow that is drawn.

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> ax, flow = nr.plots.gradient_flow(0.9 ** np.arange(40.0)[None, ::-1])
    >>> ax.get_yscale(), ax.texts[0].get_text()
    ('log', 'l0  × 0.90 per step back')
    """
    flow = flow_of(h_norm, directions=directions, lengths=lengths)
    ax = axes_for(ax)
    drawn = np.where(flow.norm > 0, flow.norm, np.nan)
    ends = []
    for i, (name, norm) in enumerate(zip(flow.names, drawn, strict=True)):
        (line,) = ax.plot(norm, **line_style(i))
        finite = np.flatnonzero(np.isfinite(norm))
        end = float(norm[finite[-1]]) if finite.size else np.nan
        factor = "" if np.isnan(flow.rate[i]) else f"  × {np.exp(flow.rate[i]):.2f} per step back"
        ends.append((name.replace("_", " ") + factor, end, str(line.get_color())))
    ax.set(
        title="Gradient on its way back through time",
        xlabel="time step t",
        ylabel=r"$\|\partial L/\partial h_t\|_2$  (loss per unit of h)",
        xlim=(0, max(1, drawn.shape[1] - 1)),
    )
    log_limits(ax, drawn.ravel())
    label_ends(ax, ends)
    return Plot(ax, flow)
