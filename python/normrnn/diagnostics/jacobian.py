"""‖∂h_t/∂h_{t−k}‖: what a change of the state k steps ago does to the state now."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normrnn._numbers import integer, random_generator
from normrnn._sequences import names_in
from normrnn.diagnostics._names import Array, runs_of
from normrnn.diagnostics._stretch import Stretch, layer_runs

__all__ = ["JacobianNorms", "jacobian_norms"]


@dataclass(frozen=True, eq=False)
class JacobianNorms:
    """What `jacobian_norms` returns; L*D by `names`, K lags, P places, B sequences.

    NaN where a sequence has no stretch of that many steps.

    Attributes
    ----------
    names : tuple of str
        "l0", "l0_reverse", "l1", ...
    lags : ndarray of int, [K]
        k.
    start : ndarray of int, [K, P, B]
        Steps that a sequence has done where the stretch begins (in a reverse direction, from its
        own end); -1 for none.
    frobenius : ndarray, [L*D, K, P, B]
        ‖J‖_F, J = ∂s_{t+k}/∂s_t, s being h or, for the LSTM, h and c side by side.
    frobenius_error : ndarray, [L*D, K, P, B]
        Standard error of that; 0 where it is exact.
    spectral : ndarray, [L*D, K, P, B]
        σ₁(J), from below; NaN everywhere with ``iterations=0``, unless it is exact.
    """

    names: tuple[str, ...]
    lags: NDArray[np.int64]
    start: NDArray[np.int64]
    frobenius: NDArray[np.float64]
    frobenius_error: NDArray[np.float64]
    spectral: NDArray[np.float64]


def jacobian_norms(
    cell: str,
    x: Array,
    params: Mapping[str, Array],
    lags: Sequence[int] | NDArray[np.integer[Any]],
    *,
    h0: Array | None = None,
    c0: Array | None = None,
    lengths: ArrayLike | None = None,
    batch_first: bool = False,
    names: Sequence[str] | None = None,
    places: int = 4,
    probes: int = 8,
    iterations: int = 2,
    rng: int | np.random.Generator | None = 0,
) -> JacobianNorms:
    """Estimate the norms of the Jacobians ∂h_t/∂h_{t−k} of each layer and direction.

    A layer's input is held as it was, so this is the layer's own memory: norms that shrink with k
    are gradients that vanish, whatever the loss. The network runs again over stretches of k steps,
    from the states it had. With v ~ N(0, I), E‖Jᵀv‖² = ‖J‖_F² (Hutchinson), and Jᵀv is one backward
    pass. For σ₁ the block Jᵀ[v₁ … v_m] starts a subspace iteration on JᵀJ; Jv is a central
    difference of two forward passes. All in float64, so that the differences hold some 9 digits.

    Parameters
    ----------
    cell, x, params, h0, c0, lengths, batch_first
        As for `normrnn.forward`; float32 is converted.
    lags : sequence of int
        k, each at least 1.
    names : sequence of str, optional
        Layers and directions such as ``["l1"]``; by default all of them.
    places : int
        Stretches of each sequence, evenly from its first to its last (they may overlap).
    probes : int
        Random vectors for each stretch. With as many as s has entries (H, or 2 H for the LSTM) or
        more, unit vectors take their place, and both norms are exact.
    iterations : int
        Of the subspace; 0 leaves the spectral norm out.
    rng : int, numpy.random.Generator or None
        Seed or generator of the probes.

    Returns
    -------
    JacobianNorms
        start, frobenius, frobenius_error and spectral.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    References
    ----------
    Pascanu, Mikolov and Bengio, ICML 2013, section 2; Hutchinson, A stochastic estimator of the
    trace of the influence matrix, Commun. Stat. Simul. 19(2), 1990; Halko, Martinsson and Tropp,
    Finding structure with randomness, SIAM Review 53(2), 2011, algorithm 4.4.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> params = {"weight_ih_l0": np.eye(2), "weight_hh_l0": np.diag([0.5, 0.25])}
    >>> found = nr.diagnostics.jacobian_norms("rnn_relu", np.ones((9, 1, 2)), params, [1, 3])
    >>> found.spectral[0, :, 0, 0].tolist()  # 0.5 and 0.5³
    [0.5, 0.125]
    """
    everything, _ = runs_of(params)
    chosen = everything if names is None else tuple(names_in("names", names))
    for name in chosen:
        if name not in everything:
            raise ValueError(f"names: expected some of {list(everything)}, got {name!r}")
    if not isinstance(lags, Sequence | np.ndarray):
        raise TypeError(f"lags: expected a sequence of integers, got {type(lags).__name__}")
    steps = [integer("lags", k, 1) for k in lags]
    places, probes = integer("places", places, 1), integer("probes", probes, 1)
    iterations = integer("iterations", iterations, 0)
    generator = random_generator("rng", rng)

    runs = layer_runs(cell, x, params, h0, c0, lengths, batch_first, chosen)
    ends = next(iter(runs.values())).lengths if runs else np.zeros(0, np.int64)
    start = np.array([_places(ends, k, places) for k in steps], np.int64)
    shape = (len(chosen), len(steps), places, len(ends))
    frobenius, error, spectral = (np.full(shape, np.nan) for _ in range(3))
    for i, name in enumerate(chosen):
        for j, k in enumerate(steps):
            place, sequence = np.nonzero(start[j] >= 0)
            if not len(place):
                continue
            stretch = Stretch(runs[name], sequence, start[j][place, sequence], k)
            f, e, s = _norms(stretch, probes, iterations, generator)
            for out, found in ((frobenius, f), (error, e), (spectral, s)):
                out[i, j, place, sequence] = found
    return JacobianNorms(chosen, np.array(steps, np.int64), start, frobenius, error, spectral)


def _places(lengths: NDArray[np.int64], lag: int, places: int) -> NDArray[np.int64]:
    """Where stretches of `lag` steps begin, [P, B]; -1 in sequences that are shorter."""
    share = np.linspace(0, 1, places)[:, None]
    return np.where(lengths >= lag, np.rint(share * (lengths - lag)), -1).astype(np.int64)


def _norms(
    stretch: Stretch, probes: int, iterations: int, generator: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Frobenius norms, their standard errors and σ₁ of N Jacobians, [N] each."""
    rows, width = stretch.rows, stretch.width
    if probes >= width:
        unit = np.broadcast_to(np.eye(width), (rows, width, width))
        transposed = stretch.transposed(unit)  # row i is Jᵀe_i: J itself
        sigma = np.linalg.svd(transposed, compute_uv=False)
        return np.linalg.norm(sigma, axis=1), np.zeros(rows), sigma[:, 0]

    image = stretch.transposed(generator.standard_normal((rows, probes, width)))
    squares = (image**2).sum(axis=2)  # [N, m], each with mean ‖J‖_F²
    frobenius = np.sqrt(squares.mean(axis=1))
    if probes > 1:
        with np.errstate(invalid="ignore"):  # d√q = dq / 2√q; 0/0 for a Jacobian that is 0
            error = squares.std(axis=1, ddof=1) / math.sqrt(probes) / (2 * frobenius)
        error = np.where(frobenius > 0, error, 0)
    else:
        error = np.full(rows, np.nan)
    sigma = np.full(rows, np.nan)
    for step in range(iterations):
        ahead = stretch.forward(_orthonormal(image))
        sigma = np.linalg.svd(ahead, compute_uv=False)[:, 0]
        if step + 1 < iterations:
            image = stretch.transposed(_orthonormal(ahead))
    return frobenius, error, sigma


def _orthonormal(vectors: Array) -> Array:
    """Orthonormal rows that span those of `vectors`, [N, m, width] with m < width."""
    return np.linalg.qr(vectors.swapaxes(1, 2)).Q.swapaxes(1, 2)
