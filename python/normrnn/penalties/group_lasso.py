"""Group lasso and sparse group lasso: whole groups of weights become zero."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn._heads import HEADS
from normrnn.penalties.arrays import Arrays
from normrnn.penalties.base import ElementwisePenalty, Strength, number
from normrnn.penalties.groups import GroupPenalty
from normrnn.penalties.l1 import L1


class _SumOfNorms(GroupPenalty):
    """R(w) = sum of strength * ||w_g||."""

    kernel = "group_lasso"

    def usual_weights(self, sizes: NDArray[Any]) -> NDArray[np.float64]:
        """Sqrt(p_g)."""
        roots: NDArray[np.float64] = np.sqrt(sizes, dtype=np.float64)
        return roots

    def value_of(self, norms: NDArray[Any], strengths: NDArray[Any]) -> float:
        return float(np.sum(strengths * norms))

    def pull_of(self, norms: NDArray[Any], strengths: NDArray[Any]) -> NDArray[Any]:
        pull: NDArray[Any] = np.divide(strengths, norms, out=np.zeros_like(norms), where=norms > 0)
        return pull

    def factor_of(self, norms: NDArray[Any], strengths: NDArray[Any], step: float) -> NDArray[Any]:
        kept = norms > step * strengths
        lost: NDArray[Any] = np.divide(step * strengths, norms, out=np.ones_like(norms), where=kept)
        return 1 - lost


@dataclass(frozen=True)
class GroupLasso(_SumOfNorms):
    """R(w) = strength * sum over groups g of sqrt(p_g) ||w_g||, p_g the number of weights in g.

    ``Prox(GroupLasso(...))`` makes whole groups exactly zero. With ``groups="outgoing"`` these are
    all weights that a hidden unit speaks through, so that a unit whose group is zero can be taken
    out of the network.

    Parameters
    ----------
    strength : float or callable
        Factor >= 0 of the sum, or a function from the number of the update to one.
    groups : str
        "rows", "columns" or "matrix" of each array that the penalty is for; "gates": the block of
        each gate, or all of an array that has no gates, such as a head; "outgoing": for each hidden
        unit its column of ``weight_hh`` and its column of the next layer's ``weight_ih`` (both
        directions) or of the heads. A pattern for "outgoing" must match all of these arrays; others
        that it matches are not penalised.
    weights : ndarray, mapping of str to ndarray, or None
        A factor >= 0 for each group in place of sqrt(p_g), or one such array for each parameter
        name. Of "gates", one for each of the parameter's (i f g o, or r z n), whichever of them a
        pattern is for; of "outgoing", one for each unit of a layer, those of the reverse direction
        last, under the name of the layer's ``weight_hh_l{k}``. 1 / ||w_g|| at a first estimate of w
        makes this the adaptive group lasso.
    heads : sequence of str
        For "outgoing", as for `shrink`: names in the parameters of all the matrices [O, D*H] that
        read the last layer. There must be one: if y itself is the result, no unit of that layer can
        be taken out.

    References
    ----------
    Yuan & Lin, Model selection and estimation in regression with grouped variables, J. R. Statist.
    Soc. B 68, 2006. With weights: Wang & Leng, A note on adaptive group lasso, Comput. Statist.
    Data Anal. 52, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties import GroupLasso
    >>> penalty, w = GroupLasso(0.5, groups="rows"), np.array([[3.0, 4.0], [0.3, 0.4]])
    >>> round(penalty.value(w), 6), penalty.prox(w, step=np.sqrt(2)).round(6).tolist()
    (3.889087, [[2.4, 3.2], [0.0, 0.0]])
    """

    strength: Strength
    groups: str = "rows"
    weights: Arrays = None
    heads: Sequence[str] = HEADS
    group_strength = "strength"


@dataclass(frozen=True)
class SparseGroupLasso(_SumOfNorms):
    """R(w) = l1 * ||w||_1 + group * sum over groups g of sqrt(p_g) ||w_g||.

    Zeros within groups as well as whole groups. The prox is that of the groups after the soft
    threshold, which is exact.

    Parameters
    ----------
    l1, group : float or callable
        Factors >= 0.
    groups, weights, heads
        As for `GroupLasso`; weights are those of the groups.

    References
    ----------
    Simon, Friedman, Hastie & Tibshirani, A sparse-group lasso, J. Comput. Graph. Statist. 22, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.penalties import SparseGroupLasso
    >>> penalty = SparseGroupLasso(l1=1.0, group=1.0, groups="matrix", weights=np.ones(1))
    >>> penalty.prox(np.array([[4.0, 5.0, 0.5]]), step=1.0).round(6).tolist()
    [[2.4, 3.2, 0.0]]
    """

    l1: Strength
    group: Strength
    groups: str = "rows"
    weights: Arrays = None
    heads: Sequence[str] = HEADS
    group_strength = "group"

    def elementwise(self) -> ElementwisePenalty:
        """Return the L1 part."""
        return L1(number(self, "l1"))
