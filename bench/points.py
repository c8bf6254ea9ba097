"""The benchmark points, and the check that every benchmark makes before it times anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import normrnn as nr
from normrnn import _core

GATES = {name: gates for name, (gates, _) in _core.cells().items()}

# (cell, T, B, I, H): the public points that train in reasonable time on a small machine.
SHAPES = [
    *[(cell, 100, batch, 64, 128) for cell in ("rnn_tanh", "gru", "lstm") for batch in (1, 32)],
    *[(cell, 64, 64, 256, 512) for cell in ("rnn_tanh", "gru", "lstm")],
    ("lstm", 25, 16, 512, 512),
    ("lstm", 150, 16, 256, 256),
    ("lstm", 50, 64, 500, 500),
    ("lstm", 25, 64, 1024, 1024),
    ("gru", 300, 20, 800, 800),
    ("gru", 187, 32, 1024, 1024),
    ("rnn_relu", 50, 32, 1760, 1760),
]


@dataclass(frozen=True)
class Problem:
    """One benchmark point with its arrays."""

    cell: str
    x: np.ndarray[Any, Any]
    dy: np.ndarray[Any, Any]
    params: dict[str, np.ndarray[Any, Any]]
    flops: float  # of a forward pass's products; back-propagation takes twice that


def make_problem(cell: str, times: int, batch: int, inputs: int, hidden: int) -> Problem:
    rng = np.random.default_rng(0)
    return Problem(
        cell,
        rng.standard_normal((times, batch, inputs), np.float32),
        rng.standard_normal((times, batch, hidden), np.float32),
        nr.init_params(cell, inputs, hidden),
        2.0 * times * batch * GATES[cell] * hidden * (inputs + hidden),
    )


def assert_close(got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    """Float32 sums of some thousand terms, taken in another order, differ by less than this."""
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-4 * scale)


def assert_close_but_for_kinks(got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    """Gradients through ReLU: of a million units a few are so near 0 that rounding switches them.

    One switched unit out of a million is 1e-3 of the gradient's norm, and shows in many elements.
    """
    assert np.linalg.norm(got - expected) <= 1e-2 * np.linalg.norm(expected)
