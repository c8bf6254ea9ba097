"""A gradient step on the logarithm of every λ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from normrnn._numbers import finite, non_negative, positive
from normrnn.penalties import Penalty, Prox
from normrnn.penalties.base import number, strength_names
from normrnn.penalties.resolve import inner_of, with_inner
from normrnn.selection.hypergradient import Strength
from normrnn.selection.terms import Penalties, refuse_twins


def log_step(
    penalty: Penalties, slopes: Mapping[Strength, float], rate: float, *, limit: float = 0.1
) -> Any:
    """Take a gradient step on every log λ: λ ← λ exp(−rate · λ · dL_val/dλ).

    Parameters
    ----------
    penalty : Penalty, Prox, sequence or mapping
        As for the update; not changed. A λ of zero stays zero.
    slopes : dict
        From `hypergradient`, or an average of several.
    rate : float
        Step size >= 0.
    limit : float
        No log λ changes by more than this, > 0.

    Returns
    -------
    Penalty, Prox, list or dict
        The same with the new strengths.

    Raises
    ------
    TypeError, ValueError
        If a slope has no λ or is no finite number, a λ is a function, a number is out of range, or
        a list has two penalties of one class.

    Examples
    --------
    >>> import normrnn as nr
    >>> slopes = {("weight_*", "L1.strength"): -0.01}
    >>> stepped = nr.selection.log_step({"weight_*": nr.L1(2.0)}, slopes, rate=1.0)
    >>> round(stepped["weight_*"].strength, 6)  # 2 exp(1.0 · 2 · 0.01)
    2.040403
    """
    rate, limit = non_negative("rate", rate), positive("limit", limit)
    refuse_twins(penalty)
    if not isinstance(slopes, Mapping):
        raise TypeError(f"slopes: expected a mapping, got {type(slopes).__name__}")
    left = dict(slopes)

    def stepped(pattern: str, one: Penalty | Prox) -> Penalty | Prox:
        inner = inner_of(one)
        if not isinstance(inner, Penalty):
            raise TypeError(f"penalty: expected a penalty, got {type(inner).__name__}")
        changes: dict[str, float] = {}
        for name in strength_names(type(inner)):
            key = (pattern, f"{type(inner).__name__}.{name}")
            if key not in left:
                continue
            slope = finite(f"slopes[{key}]", left.pop(key))
            value = number(inner, name)
            change = min(limit, max(-limit, -rate * value * slope))
            changes[name] = value * math.exp(change)
        changed: Penalty = replace(inner, **changes) if changes else inner  # type: ignore[type-var]
        return with_inner(one, changed)

    def every(pattern: str, some: Any) -> Any:
        if some is None:
            return None
        if isinstance(some, Sequence) and not isinstance(some, str):
            return [stepped(pattern, one) for one in some]
        return stepped(pattern, some)

    if isinstance(penalty, Mapping):
        result: Any = {pattern: every(pattern, some) for pattern, some in penalty.items()}
    else:
        result = every("*", penalty)
    if left:
        raise ValueError(f"slopes: expected strengths of the penalty, got {sorted(left)}")
    return result
