"""Constraints on the norms of groups of weights: at most a bound, or one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn._heads import HEADS
from normrnn.penalties.arrays import Arrays
from normrnn.penalties.base import Strength
from normrnn.penalties.groups import GroupPenalty


@dataclass(frozen=True)
class MaxNorm(GroupPenalty):
    """||w_g|| <= bound for every group: larger ones are scaled down after each step.

    Parameters
    ----------
    bound : float or callable
        Largest norm, >= 0, or a function from the number of the update to one.
    groups : str
        As for `GroupLasso`; "rows" are the incoming weights of a unit or a gate of it.
    weights : ndarray, mapping of str to ndarray, or None
        A factor >= 0 of the bound for each group; arranged as for `GroupLasso`.
    heads : sequence of str
        As for `GroupLasso`.

    References
    ----------
    Srebro, Rennie & Jaakkola, Maximum-margin matrix factorization, NeurIPS 2005; Srivastava et al.,
    Dropout, JMLR 15, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties import MaxNorm
    >>> MaxNorm(1.0).prox(np.array([[3.0, 4.0], [0.3, 0.4]]), step=0.1).round(6).tolist()
    [[0.6, 0.8], [0.3, 0.4]]
    """

    bound: Strength
    groups: str = "rows"
    weights: Arrays = None
    heads: Sequence[str] = HEADS
    kernel = "max_norm"
    constraint = True
    group_strength = "bound"

    def factor_of(self, norms: NDArray[Any], strengths: NDArray[Any], step: float) -> NDArray[Any]:
        """min(1, bound / norm)."""
        over = norms > strengths
        factor: NDArray[Any] = np.divide(strengths, norms, out=np.ones_like(norms), where=over)
        return factor


@dataclass(frozen=True)
class UnitNorm(GroupPenalty):
    """||w_g|| = 1 for every group that is not zero: scaled after each step.

    Parameters
    ----------
    groups : str
        As for `GroupLasso`.
    weights : ndarray, mapping of str to ndarray, or None
        A norm > 0 for each group in place of 1; arranged as for `GroupLasso`.
    heads : sequence of str
        As for `GroupLasso`.

    References
    ----------
    Keras calls it ``UnitNorm``; with "rows", what weight normalisation keeps apart (Salimans &
    Kingma, arXiv:1602.07868) is held fixed.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties import UnitNorm
    >>> UnitNorm().prox(np.array([[0.0, 5.0], [0.0, 0.0]]), step=0.1).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """

    groups: str = "rows"
    weights: Arrays = None
    heads: Sequence[str] = HEADS
    kernel = "unit_norm"
    constraint = True
    zero_weights = False
    group_strength = None

    def factor_of(self, norms: NDArray[Any], strengths: NDArray[Any], step: float) -> NDArray[Any]:
        """1 / norm; 1 for a group of zeros."""
        positive = norms > 0
        factor: NDArray[Any] = np.divide(strengths, norms, out=np.ones_like(norms), where=positive)
        return factor
