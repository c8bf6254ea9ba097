"""Checks of sequences that callers give."""

from collections.abc import Iterable
from typing import Any


def names_in(argument: str, value: object) -> list[Any]:
    """List what a sequence of names holds; one name by itself is none."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{argument}: expected a sequence of names, got {type(value).__name__}")
    return list(value)
