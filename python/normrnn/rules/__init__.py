"""Update rules: SGD, momentum, Adam and AdamW, each with its NumPy definition.

Every module in this package is imported, and every rule in it becomes a name here, so a new rule
is a new file. The names below are spelt out for readers and type checkers.
"""

from normrnn._registry import import_modules
from normrnn.rules.adam import Adam, AdamW
from normrnn.rules.base import Rule, registry
from normrnn.rules.momentum import Momentum
from normrnn.rules.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Momentum", "Rule", "registry"]

import_modules(__name__, __path__)
globals().update(registry())
