"""Whether ∂L/∂h_t vanishes or explodes on its way back through time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normrnn._numbers import integer, positive
from normrnn.diagnostics._names import Array, run_names, runs_of
from normrnn.results import Gradients

__all__ = ["GradientFlow", "gradient_flow"]


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """What `gradient_flow` returns; rows are layers and directions, in the order of `names`.

    Attributes
    ----------
    names : tuple of str
        "l0", "l0_reverse", "l1", ...
    norm : ndarray, [L*D, T]
        Root mean square over the sequences still running at t of ‖∂L/∂h_t‖; NaN where none is.
        Without `lengths`, h_norm itself.
    rate : ndarray, [L*D]
        Natural logarithm of the factor by which the norm grows with each step back, by least
        squares over all counted steps with a norm above 0; below 0 it shrinks. NaN with fewer than
        two.
    reach : ndarray of int, [L*D]
        Steps back until the norm falls below `floor` times the largest and stays there; all of the
        counted steps if it never does.
    verdict : tuple of str
        "explodes", "vanishes" or "flows" for each row, or "unclear" where lengths leave fewer than
        two steps to count.
    """

    names: tuple[str, ...]
    norm: NDArray[np.float64]
    rate: NDArray[np.float64]
    reach: NDArray[np.int64]
    verdict: tuple[str, ...]


def gradient_flow(
    h_norm: Array | Gradients,
    *,
    directions: int | None = None,
    lengths: ArrayLike | None = None,
    floor: float = 1e-6,
    factor: float = 1e3,
) -> GradientFlow:
    """Sum up how the gradient of the states changes through time.

    With s steps back from where the gradient enters (the end, or the beginning for a reverse
    direction), ln ‖∂L/∂h‖ ≈ a + rate · s by least squares. The rate is the network's own where the
    loss is at the end only; with a loss at every step new gradient keeps coming in and hides how
    much of the old is lost, and `jacobian_norms` tells.

    In a ragged batch the gradients of shorter sequences enter on the way, in a forward direction.
    Counted there are therefore the steps that all sequences with any have in common: of lengths
    from 10 to 60 the first 10. A reverse direction begins with all of them, and all steps count.

    Parameters
    ----------
    h_norm : Gradients, or ndarray [L*D, T]
        What `normrnn.backward` returned, or its ``h_norm``.
    directions : int, optional
        D, 1 or 2. Gradients know it; of an array it must be given where it is not 1, or rows of
        reverse directions count as layers and are read from the wrong end.
    lengths : array_like of int, [B], optional
        Steps of each sequence, as `normrnn.forward` took them. Norms are then per sequence running,
        so that fewer sequences late in a ragged batch do not pass for a smaller gradient.
    floor : float
        Share of the largest norm below which the gradient counts as gone, for `reach`.
    factor : float
        A gradient vanishes or explodes when the fitted line falls or rises by more than this over
        all steps, counted or not. One that falls to exactly 0 and stays there vanishes, one that is
        not finite explodes. Zeros throughout count as flowing: nothing was lost.

    Returns
    -------
    GradientFlow
        norm, rate, reach and verdict.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    References
    ----------
    Bengio, Simard and Frasconi, Learning long-term dependencies with gradient descent is difficult,
    IEEE Trans. Neural Networks 5(2), 1994; Pascanu, Mikolov and Bengio, On the difficulty of
    training recurrent neural networks, ICML 2013.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> flow = nr.diagnostics.gradient_flow(0.5 ** np.arange(40)[::-1][None])
    >>> round(float(np.exp(flow.rate[0])), 6), int(flow.reach[0]), flow.verdict
    (0.5, 20, ('vanishes',))
    """
    h_norm, directions = _rows(h_norm, directions)
    if h_norm.ndim != 2 or h_norm.dtype.kind != "f":
        got = f"{h_norm.dtype} of shape {h_norm.shape}"
        raise ValueError(f"h_norm: expected floating-point numbers [L*D, T], got {got}")
    if integer("directions", directions, 1) > 2 or len(h_norm) % directions:
        expected = f"1 or 2 that divides {len(h_norm)}, the rows of h_norm"
        raise ValueError(f"directions: expected {expected}, got {directions}")
    floor, factor = positive("floor", floor), positive("factor", factor)
    norm = h_norm.astype(np.float64)
    steps = shared = norm.shape[1]
    if lengths is not None:
        running = _running(lengths, steps)
        with np.errstate(divide="ignore", invalid="ignore"):
            norm = np.where(running > 0, norm / np.sqrt(running), np.nan)
        steps = int(np.count_nonzero(running))
        shared = int(np.count_nonzero(running == running.max(initial=1)))
    back = [norm[i, :steps] if i % directions else norm[i, :shared][::-1] for i in range(len(norm))]
    fits = [_fit(one, steps, floor, math.log(factor)) for one in back]
    return GradientFlow(
        names=run_names(len(norm) // directions, directions),
        norm=norm,
        rate=np.array([rate for rate, _, _ in fits]),
        reach=np.array([reach for _, reach, _ in fits], dtype=np.int64),
        verdict=tuple(verdict for _, _, verdict in fits),
    )


def _rows(given: object, directions: int | None) -> tuple[Array, int]:
    """Return h_norm and D."""
    if isinstance(given, Gradients):
        own = runs_of(given.params)[1]
        if directions not in (None, own):
            raise ValueError(f"directions: expected {own} as in the gradients, got {directions}")
        return given.h_norm, own
    if not isinstance(given, np.ndarray):
        got = type(given).__name__
        raise TypeError(f"h_norm: expected Gradients or a numpy.ndarray, got {got}")
    return given, 1 if directions is None else directions


def _running(lengths: ArrayLike, times: int) -> NDArray[Any]:
    """How many sequences are running at each step, [T]."""
    given = np.asarray(lengths)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        got = f"{given.dtype} of shape {given.shape}"
        raise ValueError(f"lengths: expected integers [B], got {got}")
    if given.size and (given.min() < 0 or given.max() > times):
        odd = given[(given < 0) | (given > times)][0]
        raise ValueError(f"lengths: expected values from 0 to {times}, got {odd}")
    running: NDArray[Any] = (np.arange(times)[:, None] < given).sum(axis=1)
    return running


def _fit(
    norm: NDArray[np.float64], steps: int, floor: float, bound: float
) -> tuple[float, int, str]:
    """Rate, reach and verdict, from norms in the order in which the gradient meets them."""
    finite = np.isfinite(norm)
    used = np.flatnonzero(finite & (norm > 0))
    rate = math.nan
    if len(used) > 1:
        s = used - used.mean()
        rate = float(s @ np.log(norm[used]) / (s @ s))
    if not finite.all():
        return rate, len(norm), "explodes"
    above = np.flatnonzero(norm >= floor * norm.max(initial=0)) if used.size else used
    reach = int(above[-1]) + 1 if above.size else 0
    if len(norm) < min(steps, 2):
        return rate, reach, "unclear"
    change = rate * (steps - 1)
    if used.size and change > bound:
        return rate, reach, "explodes"
    # Steps before the first norm above 0 are the loss's own, not the network's.
    died = used.size and used[-1] < len(norm) - 1
    return rate, reach, "vanishes" if died or change < -bound else "flows"
