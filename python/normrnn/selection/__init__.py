"""Choosing λ: where a path begins, the path, cross-validation in time, and hypergradients.

Whatever is held out is judged by the loss alone. A validation loss that included the penalty would
always prefer a smaller λ.
"""

from normrnn.selection.cross_validation import (
    CrossValidation,
    cross_validate,
    expanding_window,
)
from normrnn.selection.hypergradient import hypergradient, sensitivity
from normrnn.selection.lambda_max import lambda_max
from normrnn.selection.log_step import log_step
from normrnn.selection.path import Path, path, trainer

__all__ = [
    "CrossValidation",
    "Path",
    "cross_validate",
    "expanding_window",
    "hypergradient",
    "lambda_max",
    "log_step",
    "path",
    "sensitivity",
    "trainer",
]
