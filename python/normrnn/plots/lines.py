"""Lines over training steps, and along a path of penalty strengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normrnn.monitor import Monitor
from normrnn.plots._style import COLORS, GREY, Plot, axes_for, label_ends, line_style, log_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Lines", "lambda_path", "norms"]

LABELLED = 8  # lines at most that a reader tells apart
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
    history = monitor.history
    chosen: dict[str, NDArray[np.float64]] = {}
    for pattern in [names] if isinstance(names, str) else names:
        found = [n for n in history if _matches(n, pattern) and not n.endswith("step")]
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
        label_ends(ax, ends[: 3 * LABELLED])
    return Plot(ax, Lines(steps[0], chosen))


def lambda_path(
    lambdas: ArrayLike,
    values: ArrayLike | Mapping[str, ArrayLike],
    *,
    labels: Sequence[str] | None = None,
    best: float | None = None,
    ylabel: str = "value",
    ax: Axes | None = None,
) -> Plot[Lines]:
    """Draw weights, norms of units or a score along a path of penalty strengths.

    As the path runs, so does the axis: from strong to weak, where the lines part. With more lines
    than eight, those that are largest anywhere have colours and labels; the others are thin and
    grey.

    Parameters
    ----------
    lambdas : array_like, [K]
        Penalty strengths in any order, above 0: the axis is logarithmic.
    values : array_like, [K] or [K, P], or mapping of str to array_like, [K]
        P lines, or lines by label.
    labels : sequence of str, [P], optional
        For values in an array; "0", "1", ... by default.
    best : float, optional
        The strength that was chosen: a dotted line, with its value.
    ylabel : str
        What the values are, with their unit.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Plot
        The axes, and `Lines` in the order of rising λ.

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> strengths = np.geomspace(1e-4, 1e-1, 7)
    >>> units = {"unit 0": 1 - 5 * strengths, "unit 1": np.maximum(0, 1 - 50 * strengths)}
    >>> ax, lines = nr.plots.lambda_path(strengths, units, best=1e-2, ylabel="norm of a unit")
    >>> ax.get_xscale(), lines.y["unit 1"].round(2).tolist()
    ('log', [1.0, 0.98, 0.95, 0.84, 0.5, 0.0, 0.0])
    """
    x = np.asarray(lambdas, np.float64)
    if x.ndim != 1 or not x.size or not (np.isfinite(x) & (x > 0)).all():
        raise ValueError(f"lambdas: expected finite numbers > 0, [K], got {lambdas!r}")
    if best is not None and not (np.isfinite(best) and best > 0):
        raise ValueError(f"best: expected a finite number > 0, got {best}")
    lines = _by_label(values, labels, len(x))
    order = np.argsort(x, kind="stable")
    drawn = Lines(x[order], {label: y[order] for label, y in lines.items()})

    ax = axes_for(ax)
    size = {label: np.nanmax(np.abs(y), initial=0) for label, y in drawn.y.items()}
    named = sorted(size, key=lambda label: -size[label])[:LABELLED]
    styles = iter(range(len(named)))
    ends = []
    for label, y in drawn.y.items():
        if label in named:
            style = line_style(next(styles)) | {"zorder": 3}
            ends.append((label, float(y[0]), str(style["color"])))
        else:
            style = {"color": GREY, "linewidth": 0.5, "alpha": 0.5}
        ax.plot(drawn.x, y, **style)
    ax.set_xscale("log")
    ax.set(xlabel="penalty strength λ", ylabel=ylabel, xlim=_limits(drawn.x))
    everything = np.concatenate(list(drawn.y.values()))
    if np.nanmin(everything, initial=0) < 0:
        ax.axhline(0, color=GREY, linewidth=0.8)
    else:
        ax.set_ylim(bottom=0)
    if best is not None:
        ax.axvline(best, color=GREY, linestyle=":", linewidth=1)
        text: dict[str, Any] = {"color": GREY, "fontsize": 9, "ha": "center", "va": "bottom"}
        ax.text(best, 1.01, f"λ = {best:.2g}", transform=ax.get_xaxis_transform(), **text)
    if len(drawn.y) > 1:
        label_ends(ax, ends)
    return Plot(ax, drawn)


def _by_label(
    values: ArrayLike | Mapping[str, ArrayLike], labels: Sequence[str] | None, count: int
) -> dict[str, NDArray[np.float64]]:
    if isinstance(values, Mapping):
        if labels is not None:
            raise TypeError("labels: expected None beside a mapping of values, got some")
        found = {label: np.asarray(y, np.float64) for label, y in values.items()}
        for label, y in found.items():
            if y.shape != (count,):
                raise ValueError(f"values[{label!r}]: expected shape ({count},), got {y.shape}")
        if not found:
            raise ValueError("values: expected at least one line, got none")
        return found
    array = np.asarray(values, np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != count or array.shape[1] == 0:
        shape = np.shape(values)
        raise ValueError(f"values: expected shape ({count},) or ({count}, P), got {shape}")
    names = [str(i) for i in range(array.shape[1])] if labels is None else list(labels)
    if len(names) != array.shape[1] or len(set(names)) != len(names):
        expected = f"{array.shape[1]} different ones"
        raise ValueError(f"labels: expected {expected}, got {names}")
    return dict(zip(names, array.T, strict=True))


def _matches(name: str, pattern: str) -> bool:
    wants_gates = "[" in pattern or "[" not in name
    return wants_gates and fnmatchcase(name, pattern.replace("[", "[[]"))


def _last(values: NDArray[np.float64]) -> float:
    finite = np.flatnonzero(np.isfinite(values))
    return float(values[finite[-1]]) if finite.size else np.nan


def _limits(x: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(x[0]), float(x[-1])
    return (high, low) if low < high else (2 * high, low / 2)


def _scale(ax: Axes, values: NDArray[np.float64]) -> None:
    kept = values[np.isfinite(values)]
    if kept.size and kept.min() > 0 and kept.max() > 30 * kept.min():
        log_limits(ax, kept)
    elif kept.size and kept.min() >= 0:
        ax.set_ylim(bottom=0)
    elif kept.size:
        ax.axhline(0, color=COLORS[-1], linewidth=0.8)
