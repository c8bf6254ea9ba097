"""Numerical differentiation and minimisation, for tests of gradients and proximal steps."""

from collections.abc import Callable
from functools import cache

import numpy as np


def derivative(f: Callable[[float], float], step: float = 1e-3) -> float:
    """f'(0) by central differences of fourth order: for smooth f the error is near 1e-12."""
    far, near = f(2 * step) - f(-2 * step), f(step) - f(-step)
    return (8 * near - far) / (12 * step)


def derivative_on_one_side(
    f: Callable[[float], tuple[float, np.ndarray]], bends: bool = False
) -> float | None:
    """f'(0) for a piecewise smooth f that returns its value and which piece it is on.

    The step shrinks until all points are on the piece of 0; None if 0 is too near an edge. For an f
    that may bend sharply it shrinks on, and the step counts that agrees best with the next one.
    """
    f = cache(f)
    piece = f(0.0)[1]
    found: list[float] = []
    for step in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7):
        if all(np.array_equal(f(k * step)[1], piece) for k in (-2, -1, 1, 2)):
            found.append(derivative(lambda s: f(s)[0], step))
            if not bends:
                break
    if len(found) < 2:
        return found[0] if found else None
    return found[int(np.argmin(np.abs(np.diff(found)))) + 1]


def minimize_scalar(f: Callable[[float], float], low: float, high: float) -> float:
    """Minimum of a convex f between two points, by golden section, to about 1e-8."""
    ratio = (5**0.5 - 1) / 2
    while high - low > 1e-9:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if f(left) <= f(right):
            high = right
        else:
            low = left
    return (low + high) / 2
