"""Eigenvalues of the recurrent weights in the complex plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from normrnn.diagnostics._names import Array, blocks, hidden_of, params_in
from normrnn.plots._style import COLORS, GREY, Plot, axes_for, label_ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["spectrum"]

MARKERS = "os^Dv<>"


def spectrum(
    W: Array | Mapping[str, Array], *, name: str = "weight_hh_l0", ax: Axes | None = None
) -> Plot[dict[str, NDArray[np.complex128]]]:
    """Draw the eigenvalues of W_hh, gate by gate, with the unit circle and each spectral radius.

    For an Elman network around h = 0, modes outside the circle grow from step to step and modes
    inside die out. The gates of an LSTM or GRU have no such limit; their radii tell them apart from
    one another and from what they were before training.

    Parameters
    ----------
    W : ndarray, [H, H], or mapping of str to ndarray
        A matrix, or parameters as from `normrnn.init_params`.
    name : str
        Which of the parameters to draw.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Plot
        The axes, and the eigenvalues [H] by name or gate.

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> ax, eigenvalues = nr.plots.spectrum(nr.init_params("gru", 3, 16))
    >>> {gate: z.shape for gate, z in eigenvalues.items()}
    {'r': (16,), 'z': (16,), 'n': (16,)}
    """
    values = {label: _eigenvalues(label, w) for label, w in _matrices(W, name).items()}
    ax = axes_for(ax, height=4.6)
    angle = np.linspace(0, 2 * np.pi, 361)
    ax.plot(np.cos(angle), np.sin(angle), color=GREY, linewidth=1)
    ends = []
    for i, (label, z) in enumerate(values.items()):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        ax.plot(
            z.real,
            z.imag,
            linestyle="none",
            marker=marker,
            markersize=4,
            color=color,
            markeredgewidth=0,
            alpha=0.75,
        )
        radius = float(np.abs(z).max(initial=0))
        ends.append(
            (f"{label}   ρ = {radius:.2f}" if len(values) > 1 else f"ρ = {radius:.2f}", 0.0, color)
        )
    reach = 1.08 * max([1.0, *(float(np.abs(z).max(initial=0)) for z in values.values())])
    ax.set(
        xlim=(-reach, reach),
        ylim=(-reach, reach),
        aspect="equal",
        title="Eigenvalues of the recurrent weights",
        xlabel="real part (gain per step)",
        ylabel="imaginary part",
    )
    label_ends(ax, ends[::-1])  # the first on top
    return Plot(ax, values)


def _matrices(W: Array | Mapping[str, Array], name: str) -> dict[str, Array]:
    if isinstance(W, np.ndarray):
        return {"W": W}
    params_in(W)
    if not isinstance(name, str) or name not in W:
        raise ValueError(f"name: expected one of {sorted(W)}, got {name!r}")
    parts = blocks(name, W[name], hidden_of(W))
    gates = {label[len(name) + 1 : -1]: w for label, w in parts.items() if label != name}
    return gates or parts


def _eigenvalues(label: str, w: Array) -> NDArray[np.complex128]:
    if w.dtype.kind != "f":
        raise TypeError(f"{label}: expected a floating-point dtype, got {w.dtype}")
    if not np.isfinite(w).all():
        raise ValueError(f"{label}: expected finite numbers, got {w[~np.isfinite(w)][0]}")
    if w.ndim == 1:
        return w.astype(np.complex128)  # a diagonal
    if w.ndim != 2 or w.shape[0] != w.shape[1]:
        raise ValueError(f"{label}: expected a square matrix, got shape {w.shape}")
    z: Any = np.linalg.eigvals(w.astype(np.float64))
    return np.asarray(z, np.complex128)
