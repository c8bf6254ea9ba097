"""Penalties R(w) on weights: value, gradient and proximal step of each, in NumPy.

Every module in this package is imported, and every penalty in it becomes a name here, so a new
penalty is a new file. The names below are spelt out for readers and type checkers.
"""

from normrnn._registry import import_modules
from normrnn.penalties.base import Penalty, Prox, registry
from normrnn.penalties.elastic_net import ElasticNet
from normrnn.penalties.l1 import L1
from normrnn.penalties.l2 import L2
from normrnn.penalties.resolve import resolve

__all__ = ["L1", "L2", "ElasticNet", "Penalty", "Prox", "registry", "resolve"]

import_modules(__name__, __path__)
globals().update(registry())
