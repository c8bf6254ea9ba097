"""Arrays that belong to a penalty: a centre or weights, one for all parameters or one a name.

A penalty keeps copies that cannot be written to, so that it stays what it is when the weights move.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from normrnn.penalties.base import ElementwisePenalty, Penalty

Arrays: TypeAlias = NDArray[Any] | Mapping[str, NDArray[Any]] | None
P = TypeVar("P", bound=Penalty)


def keep(penalty: Penalty, field: str, bound: str = "") -> None:
    """Replace the arrays in a field of a frozen dataclass by copies.

    Raises
    ------
    TypeError
        If something is not an array of real numbers, or has a mask.
    ValueError
        If a number in them is not finite or not within the bound, ">= 0" or "> 0".
    """
    given = getattr(penalty, field)
    if isinstance(given, Mapping):
        kept = {name: _copy(f"{field}[{name}]", a, bound) for name, a in given.items()}
        object.__setattr__(penalty, field, kept)
    elif given is not None:
        object.__setattr__(penalty, field, _copy(field, given, bound))


def keep_factors(penalty: Penalty, field: str, *, zero: bool = True) -> None:
    """Copy a field's arrays; refuse factors that are negative, not finite, or 0 unless allowed."""
    keep(penalty, field, ">= 0" if zero else "> 0")


def bind(penalty: P, name: str, *names_of_fields: str) -> P:
    """Return the penalty with the arrays of one parameter, where it has one for each.

    Raises
    ------
    ValueError
        If a mapping has no array for the name.
    """
    bound = penalty
    for field in names_of_fields:
        held = getattr(penalty, field)
        if not isinstance(held, dict):  # what `keep` makes of a mapping
            continue
        if name not in held:
            raise ValueError(f"{field}: expected an array for {name}, got {sorted(held)}")
        if bound is penalty:
            bound = copy(penalty)  # not through __init__, which would copy arrays at every update
        object.__setattr__(bound, field, held[name])
    return bound


def one_array(field: str, held: Arrays) -> NDArray[Any] | None:
    """Return what a bound penalty holds; for its NumPy methods."""
    if isinstance(held, Mapping):
        raise ValueError(f"{field}: expected one array (see for_parameter), got a mapping")
    return held


def factors_for(
    penalty: Penalty, field: str, name: str, w: NDArray[Any], shape: tuple[int, ...]
) -> NDArray[Any] | None:
    """Return the factors of one parameter as an array of w's dtype and the given shape, or None.

    Raises
    ------
    ValueError
        If there are none for the name, or they cannot be broadcast to the shape.
    """
    held = one_array(field, getattr(bind(penalty, name, field), field))
    if held is None:
        return None
    try:
        spread = np.broadcast_to(held, shape)
    except ValueError:
        raise ValueError(
            f"{field}[{name}]: expected a shape that broadcasts to {shape}, got {held.shape}"
        ) from None
    return np.array(spread, w.dtype, order="C")


def _copy(argument: str, given: object, bound: str) -> NDArray[Any]:
    if not isinstance(given, np.ndarray):
        raise TypeError(f"{argument}: expected an ndarray, got {type(given).__name__}")
    if isinstance(given, np.ma.MaskedArray):
        raise TypeError(f"{argument}: expected an array without a mask, got MaskedArray")
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{argument}: expected real numbers, got dtype {given.dtype}")
    frozen = np.array(given, order="C")
    within = np.isfinite(frozen)
    if bound:
        within &= frozen > 0 if bound == "> 0" else frozen >= 0
    wrong = np.argwhere(~within)
    if len(wrong):
        at = tuple(wrong[0].tolist())
        raise ValueError(
            f"{argument}: expected finite numbers{bound and ' ' + bound}, got {frozen[at]} "
            f"at index {at}"
        )
    frozen.flags.writeable = False
    return frozen


def on_rows(penalty: P, name: str, w: NDArray[Any], rows: slice | None) -> P:
    """Return an elementwise penalty with the centre and weights of some rows of a parameter."""
    if not isinstance(penalty, ElementwisePenalty):
        return penalty
    arrays = {
        "center": penalty.center_for(name, w),
        "weights": penalty.weights_for(name, w),
    }
    bound = copy(penalty)
    for field, array in arrays.items():
        if array is not None:
            object.__setattr__(bound, field, array if rows is None else array[rows])
    return bound
