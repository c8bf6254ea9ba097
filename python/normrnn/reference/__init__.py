"""The definition of what normrnn computes, in NumPy, to be read first.

Functions have the names, arguments and results of the package's own, without threads; the compiled
core is tested against them. Read cells/ for one step of each cell, sequence.py for the loop over
time and its reverse, head.py and losses.py, then update.py with `normrnn.penalties` and
`normrnn.rules`. Nothing here is made to be fast.
"""

from normrnn.reference.cells import CELLS
from normrnn.reference.head import head_backward, head_forward
from normrnn.reference.losses import (
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    squared_error,
)
from normrnn.reference.sequence import backward, forward
from normrnn.reference.update import init_state, update

__all__ = [
    "CELLS",
    "backward",
    "forward",
    "head_backward",
    "head_forward",
    "init_state",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "squared_error",
    "update",
]
