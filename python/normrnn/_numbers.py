"""Checks of single numbers: hyper-parameters, strengths, thresholds and sizes."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np


def non_negative(argument: str, value: object) -> float:
    """`value` as a float if it is finite and at least 0."""
    if type(value) is float and 0 <= value < math.inf:  # strengths at each update: 0.5 us less
        return value
    return _number(argument, value, "a finite number >= 0", lambda v: 0 <= v < math.inf)


def positive(argument: str, value: object) -> float:
    """`value` as a float if it is finite and above 0."""
    if type(value) is float and 0 < value < math.inf:  # the same, for what gradients are clipped to
        return value
    return _number(argument, value, "a finite number > 0", lambda v: 0 < v < math.inf)


def finite(argument: str, value: object) -> float:
    """`value` as a float if it is finite."""
    return _number(argument, value, "a finite number", math.isfinite)


def fraction(argument: str, value: object) -> float:
    """`value` as a float if it lies in [0, 1)."""
    return _number(argument, value, "a number in [0, 1)", lambda v: 0 <= v < 1)


def integer(argument: str, value: object, least: int) -> int:
    """`value` as an int if it is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{argument}: expected an integer >= {least}, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{argument}: expected an integer >= {least}, got {value}")
    return int(value)


def check_fields(instance: object, **checks: Callable[[str, object], float]) -> None:
    """Replace fields of a frozen dataclass by what their checks return; for ``__post_init__``."""
    for name, check in checks.items():
        object.__setattr__(instance, name, check(name, getattr(instance, name)))


def flag(argument: str, value: object) -> bool:
    """`value` as a bool if it is one, Python's or NumPy's."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{argument}: expected True or False, got {type(value).__name__}")
    return bool(value)


def random_generator(argument: str, value: Any) -> np.random.Generator:
    """Make NumPy's generator of a seed, or take one that is given."""
    try:
        return np.random.default_rng(value)
    except (TypeError, ValueError) as error:
        expected = "a seed or what else numpy.random.default_rng takes"
        raise type(error)(f"{argument}: expected {expected}, got {value!r}") from None


def _number(argument: str, value: object, expected: str, holds: Callable[[float], bool]) -> float:
    # bool is a Real to Python, but L2(True) is a slip. NaN fails every comparison in `holds`.
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{argument}: expected {expected}, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an integer
        number = -math.inf if value < 0 else math.inf
    if not holds(number):
        raise ValueError(f"{argument}: expected {expected}, got {number}")
    return number
