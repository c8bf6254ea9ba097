"""Penalties on hidden states, part of the backward pass: value and gradient of each, in NumPy.

Every module in this package is imported, and every penalty in it becomes a name here. The names
below are spelt out for readers and type checkers.
"""

from normrnn._registry import import_modules
from normrnn.state_penalties.activity_l1 import ActivityL1
from normrnn.state_penalties.activity_l2 import ActivityL2
from normrnn.state_penalties.ar import AR
from normrnn.state_penalties.base import FunctionOfStates, StatePenalty, registry
from normrnn.state_penalties.norm_stabilizer import NormStabilizer
from normrnn.state_penalties.omega import Omega
from normrnn.state_penalties.resolve import resolve
from normrnn.state_penalties.tar import TAR

__all__ = [
    "AR",
    "TAR",
    "ActivityL1",
    "ActivityL2",
    "FunctionOfStates",
    "NormStabilizer",
    "Omega",
    "StatePenalty",
    "registry",
    "resolve",
]

import_modules(__name__, __path__)
globals().update(registry())
