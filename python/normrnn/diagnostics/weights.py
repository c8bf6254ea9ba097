"""Norms of every parameter, and of every gate's part of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normrnn._numbers import positive
from normrnn.diagnostics._names import Array, blocks, hidden_of, params_in
from normrnn.diagnostics.spectral import spectral_norm, spectral_radius

__all__ = ["WeightNorms", "spectral_radii", "weight_norms"]


@dataclass(frozen=True)
class WeightNorms:
    """Norms of one parameter or of one gate's rows of it, in float64.

    Attributes
    ----------
    l1, l2, max : float
        Σ|w|, √Σw² and max |w| over all elements.
    sigma : float
        σ₁, the spectral norm; l2 for a vector.
    zeros : float
        Fraction of elements that are exactly 0.
    """

    l1: float
    l2: float
    max: float
    sigma: float
    zeros: float


def weight_norms(
    params: Mapping[str, Array],
    *,
    state: dict[str, NDArray[np.float64]] | None = None,
    tol: float = 1e-3,
) -> dict[str, WeightNorms]:
    """Norms of every parameter, and of each gate where one stacks several.

    Parameters
    ----------
    params : mapping of str to ndarray
        Under PyTorch's names. Gates are i f g o for stacks of four, r z n for stacks of three.
    state : dict, optional
        Singular vectors by name: used to start from, and updated, for calls that follow each other
        in training. Begin with an empty one.
    tol : float
        Of σ₁, as in `spectral_norm`.

    Returns
    -------
    dict of str to WeightNorms
        ``"weight_hh_l0"``, ``"weight_hh_l0[i]"``, ``"weight_hh_l0[f]"``, ...

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or a parameter is not finite.

    Examples
    --------
    >>> import normrnn as nr
    >>> norms = nr.diagnostics.weight_norms(nr.init_params("gru", 3, 5))
    >>> [name for name in norms if name.startswith("weight_hh")]
    ['weight_hh_l0', 'weight_hh_l0[r]', 'weight_hh_l0[z]', 'weight_hh_l0[n]']
    >>> norms["weight_hh_l0[n]"].zeros
    0.0
    """
    params_in(params)
    if not isinstance(state, MutableMapping | None):
        raise TypeError(f"state: expected a dict or None, got {type(state).__name__}")
    tol = positive("tol", tol)
    hidden = hidden_of(params)
    norms = {}
    for parameter, whole in params.items():
        for name, w in blocks(parameter, whole, hidden).items():
            size = np.abs(w, dtype=np.float64)
            l2 = sigma = math.sqrt(np.square(size).sum())
            if w.ndim == 2:
                try:
                    found = spectral_norm(w, None if state is None else state.get(name), tol=tol)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
                sigma = found.value
                if state is not None:
                    state[name] = found.state
            norms[name] = WeightNorms(
                l1=float(size.sum()),
                l2=l2,
                max=float(size.max(initial=0)),
                sigma=sigma,
                zeros=1 - int(np.count_nonzero(w)) / w.size if w.size else 0.0,
            )
    return norms


def spectral_radii(params: Mapping[str, Array], *, tol: float = 1e-3) -> dict[str, float]:
    """ρ of W_hh of every layer and direction, gate by gate where there are several.

    Parameters
    ----------
    params : mapping of str to ndarray
        Under PyTorch's names.
    tol : float
        As in `spectral_radius`.

    Returns
    -------
    dict of str to float
        ``"weight_hh_l0"`` for cells of one gate, else ``"weight_hh_l0[i]"`` and so on.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or a parameter is not finite.

    Examples
    --------
    >>> import normrnn as nr
    >>> list(nr.diagnostics.spectral_radii(nr.init_params("rnn_tanh", 3, 5, num_layers=2)))
    ['weight_hh_l0', 'weight_hh_l1']
    """
    params_in(params)
    hidden = hidden_of(params)
    radii = {}
    for parameter, whole in params.items():
        if not parameter.startswith("weight_hh_"):
            continue
        parts = blocks(parameter, whole, hidden)
        for name, w in parts.items():
            if name == parameter and len(parts) > 1:
                continue  # the stack is not square
            try:
                radii[name] = spectral_radius(w, tol=tol)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return radii
