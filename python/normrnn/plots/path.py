"""Lines along a path of penalty strengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normrnn._numbers import non_negative
from normrnn._sequences import names_in
from normrnn.plots._style import GREY, Lines, Plot, axes_for, label_ends, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["lambda_path"]

LABELLED = 8  # lines at most that a reader tells apart


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
        Penalty strengths in any order, >= 0: the axis is logarithmic, from the smallest λ > 0 down
        to a 0 linear.
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
    try:
        x = np.asarray(lambdas, np.float64)
    except (TypeError, ValueError):
        x = np.zeros(0)  # refused as any other
    if x.ndim != 1 or not x.size or not (np.isfinite(x) & (x >= 0)).all():
        raise ValueError(f"lambdas: expected finite numbers >= 0, [K], got {lambdas!r}")
    if best is not None:
        best = non_negative("best", best)
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
    shown = drawn.x if best is None else np.append(drawn.x, best)
    if shown.all():
        ax.set_xscale("log")
    else:  # as much room for what is below the smallest as for a power of ten above it
        ax.set_xscale("symlog", linthresh=min(shown[shown > 0], default=1.0))
    ax.set(xlabel="penalty strength λ", ylabel=ylabel, xlim=_limits(shown))
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
    unnamed = [str(i) for i in range(array.shape[1])]
    names = unnamed if labels is None else names_in("labels", labels)
    if len(names) != array.shape[1] or len(set(names)) != len(names):
        expected = f"{array.shape[1]} different ones"
        raise ValueError(f"labels: expected {expected}, got {names}")
    return dict(zip(names, array.T, strict=True))


def _limits(x: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(x.min()), float(x.max())
    return (high, low) if low < high else (2 * high or 1.0, low / 2)
