"""Heads: the matrices [O, D*H] among the parameters that read the last layer's output."""

import re
from collections.abc import Sequence

from normrnn._sequences import names_in

#: What there is unless a call says otherwise: the head of `init_params` and `head_forward`.
HEADS: tuple[str, ...] = ("weight_hy",)

_OF_A_LAYER = re.compile(r"(?:weight|bias)_(?:ih|hh)_l\d+(?:_reverse)?")


def head_names(heads: Sequence[str]) -> tuple[str, ...]:
    """Return the names as a tuple, each once.

    Raises
    ------
    TypeError
        If one name is given in the place of a sequence.
    ValueError
        If there is none, or one of a layer's own.
    """
    given = names_in("heads", heads)
    if not given:
        raise ValueError("heads: expected at least one name, got none")
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"heads: expected names, got {type(name).__name__}")
        if _OF_A_LAYER.fullmatch(name):
            raise ValueError(f"heads: expected matrices that read the output, got {name!r}")
    return tuple(dict.fromkeys(given))
