"""Which penalty applies to which parameter."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from normrnn.penalties.base import Penalty, Prox


def resolve(
    penalty: Penalty | Prox | Mapping[str, Penalty | Prox | None] | None, names: Iterable[str]
) -> dict[str, Penalty | Prox | None]:
    """Say for each parameter which penalty it has.

    One penalty applies to every parameter whose name has no "bias" in it. A mapping goes from a
    pattern (as in fnmatch, case-sensitive) to a penalty, or to None for no penalty: the first
    pattern that matches a name counts, and a pattern matches a bias only if the pattern itself has
    "bias" in it.

    Parameters
    ----------
    penalty : Penalty, Prox, mapping or None
        As ``update`` takes it.
    names : iterable of str
        All parameter names.

    Returns
    -------
    dict
        Every name with its penalty or None. A penalty with a centre for each parameter name has
        become one with this parameter's centre.

    Raises
    ------
    TypeError
        If something else than a penalty or a mapping is given.
    ValueError
        If a pattern matches no parameter, or a centre is missing.

    Examples
    --------
    >>> from normrnn.penalties import L1, L2, resolve
    >>> names = ["weight_ih_l0", "weight_hh_l0", "bias_hh_l0"]
    >>> for name, one in resolve({"*_hh_*": L2(0.1), "weight_*": L1(0.2)}, names).items():
    ...     print(name, one)
    weight_ih_l0 L1(strength=0.2)
    weight_hh_l0 L2(strength=0.1, center=None)
    bias_hh_l0 None
    """
    names = list(names)
    if penalty is None:
        return dict.fromkeys(names)
    # Not through the mapping's rule for patterns: a model may well have no weights to penalise.
    if not isinstance(penalty, Mapping):
        _check("penalty", penalty)
        return {name: None if "bias" in name else _bind(penalty, name) for name in names}

    resolved: dict[str, Penalty | Prox | None] = {}
    for pattern, one in penalty.items():
        if not isinstance(pattern, str):
            raise TypeError(f"penalty: expected patterns of type str, got {type(pattern).__name__}")
        if one is not None:
            _check(f"penalty[{pattern!r}]", one)
        matched = [name for name in names if _matches(pattern, name)]
        if not matched:
            raise ValueError(
                f"penalty: expected a pattern that matches one of {names}, got {pattern!r}"
            )
        for name in matched:
            if name not in resolved:
                resolved[name] = None if one is None else _bind(one, name)
    return {name: resolved.get(name) for name in names}


def _matches(pattern: str, name: str) -> bool:
    return fnmatchcase(name, pattern) and ("bias" in pattern or "bias" not in name)


def _bind(penalty: Penalty | Prox, name: str) -> Penalty | Prox:
    if isinstance(penalty, Prox):
        return Prox(penalty.penalty.for_parameter(name))
    return penalty.for_parameter(name)


def _check(argument: str, penalty: object) -> None:
    if not isinstance(penalty, Penalty | Prox):
        raise TypeError(f"{argument}: expected a penalty, got {type(penalty).__name__}")
