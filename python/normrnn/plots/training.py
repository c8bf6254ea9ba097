"""What a monitor recorded, over training steps."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from normrnn.monitor import Monitor
from normrnn.plots._style import GREY, Lines, Plot, axes_for, label_ends, line_style, log_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["norms"]

LABELLED = 24  # lines at most: more labels than that do not fit
YLABELS = {
    "weight_l2": r"Frobenius norm $\|W\|_F$",
    "weight_sigma": r"spectral norm $\sigma_1(W)$",
    "weight_radius": r"spectral radius $\rho(W)$",
    "weight_zeros": "fraction of weights that are 0",
    "grad_l2": r"$\|\partial L/\partial W\|_F$  (loss per unit of W)",
    "grad_norm": "norm of all gradients  (loss per unit of W)",
    "flow_rate": r"growth of $\ln\|\partial L/\partial h\|$ per step back",
    "flow_reach": "reach of the gradient (time steps)",
    "saturation_low": "fraction at the lower bound",
    "saturation_high": "fraction at the upper bound",
    "silent": "fraction of silent units",
    "loss": "loss",
    "penalty": "penalty R(w)",
}


def norms(
    monitor: Monitor,
    names: str | Sequence[str] = "weight_l2/weight_*",
    *,
    ax: Axes | None = None,
) -> Plot[Lines]:
    """Draw what a `normrnn.Monitor` recorded over the training steps.

    The axis is logarithmic where the numbers are positive and span a factor of more than 30.

    Parameters
    ----------
    monitor : Monitor
        After some training, or from ``Monitor.load``.
    names : str or sequence of str
        Names of its history, or patterns with ``*``; brackets stand for themselves. Gates are drawn
        only if a name or pattern has a bracket: ``"weight_l2/weight_hh_l0[*]"``. All must have been
        recorded at the same steps.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Plot
        The axes, and `Lines` by the names of the history.

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError, ValueError
        If an argument does not fit, or a name matches nothing.

    Examples
    --------
    >>> import normrnn as nr
    >>> monitor = nr.Monitor(every=1)
    >>> for step in range(3):
    ...     monitor.record(step, params=nr.init_params("gru", 3, 8, rng=step))
    >>> ax, lines = nr.plots.norms(monitor)
    >>> list(lines.y), ax.get_xlabel()
    (['weight_l2/weight_ih_l0', 'weight_l2/weight_hh_l0'], 'training step')
    """
    if not isinstance(monitor, Monitor):
        raise TypeError(f"monitor: expected a Monitor, got {type(monitor).__name__}")
    if not isinstance(names, str | Sequence):
        raise TypeError(f"names: expected a name or a sequence, got {type(names).__name__}")
    patterns = [names] if isinstance(names, str) else list(names)
    if not patterns:
        raise ValueError("names: expected at least one name, got none")
    history = {n: v for n, v in monitor.history.items() if n not in ("step", "sampled_step")}
    chosen: dict[str, NDArray[np.float64]] = {}
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"names: expected names of type str, got {type(pattern).__name__}")
        found = [n for n in history if _matches(n, pattern)]
        if not found:
            raise ValueError(f"names: expected some of {sorted(history)}, got {pattern!r}")
        chosen |= {name: history[name] for name in found}
    steps = [monitor.steps_of(name) for name in chosen]
    if len({len(one) for one in steps}) > 1:
        raise ValueError(f"names: expected ones recorded at the same steps, got {list(chosen)}")
    ax = axes_for(ax)
    ends = []
    for i, (name, values) in enumerate(chosen.items()):
        marker = "o" if len(values) < 3 else ""
        (line,) = ax.plot(steps[0], values, marker=marker, **line_style(i))
        label = name.partition("/")[2] or name
        ends.append((label, _last(values), str(line.get_color())))
    kinds = {name.partition("/")[0] for name in chosen}
    kind = kinds.pop() if len(kinds) == 1 else ""
    ax.set(xlabel="training step", ylabel=YLABELS.get(kind, kind.replace("_", " ")))
    _scale(ax, np.concatenate(list(chosen.values())))
    ax.margins(x=0)
    if list(chosen) != [kind]:  # then the axis says it all
        label_ends(ax, ends[:LABELLED])
    return Plot(ax, Lines(steps[0], chosen))


def _matches(name: str, pattern: str) -> bool:
    wants_gates = "[" in pattern or "[" not in name
    return wants_gates and fnmatchcase(name, pattern.replace("[", "[[]"))


def _last(values: NDArray[np.float64]) -> float:
    finite = np.flatnonzero(np.isfinite(values))
    return float(values[finite[-1]]) if finite.size else np.nan


def _scale(ax: Axes, values: NDArray[np.float64]) -> None:
    kept = values[np.isfinite(values)]
    if kept.size and kept.min() > 0 and kept.max() > 30 * kept.min():
        log_limits(ax, kept)
    elif kept.size and kept.min() >= 0:
        ax.set_ylim(bottom=0)
    elif kept.size:
        ax.axhline(0, color=GREY, linewidth=0.8)
