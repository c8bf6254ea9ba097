"""Penalties R(w) on weights: value, gradient and proximal step of each, in NumPy.

Every module in this package is imported, and every penalty in it becomes a name here, so a new
penalty is a new file. The names below are spelt out for readers and type checkers.
"""

from normrnn._registry import import_modules
from normrnn.penalties.base import ElementwisePenalty, Penalty, Prox, Strength, registry
from normrnn.penalties.elastic_net import ElasticNet
from normrnn.penalties.group_lasso import GroupLasso, SparseGroupLasso
from normrnn.penalties.groups import GroupPenalty
from normrnn.penalties.l1 import L1
from normrnn.penalties.l2 import L2
from normrnn.penalties.matrix import MatrixPenalty
from normrnn.penalties.non_negative import NonNegative
from normrnn.penalties.norm_bounds import MaxNorm, UnitNorm
from normrnn.penalties.nuclear_norm import NuclearNorm
from normrnn.penalties.resolve import Piece, resolve
from normrnn.penalties.soft_orthogonality import SoftOrthogonality
from normrnn.penalties.spectral import SpectralCap, SpectralNorm

__all__ = [
    "L1",
    "L2",
    "ElasticNet",
    "ElementwisePenalty",
    "GroupLasso",
    "GroupPenalty",
    "MatrixPenalty",
    "MaxNorm",
    "NonNegative",
    "NuclearNorm",
    "Penalty",
    "Piece",
    "Prox",
    "SoftOrthogonality",
    "SparseGroupLasso",
    "SpectralCap",
    "SpectralNorm",
    "Strength",
    "UnitNorm",
    "registry",
    "resolve",
]

import_modules(__name__, __path__)
globals().update(registry())
