"""Which state penalties apply to which layer and direction."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

from normrnn.state_penalties.base import StatePenalty

OneOrMany: TypeAlias = StatePenalty | Sequence[StatePenalty]
StatePenalties: TypeAlias = OneOrMany | Mapping[str, OneOrMany | None]


def resolve(
    state_penalty: StatePenalties | None, cell: str, runs: Sequence[str]
) -> list[tuple[StatePenalty, ...]]:
    """Say for each direction of each layer which state penalties it has.

    One penalty or a list applies to all of them, `AR` and `TAR` to the last layer's. A mapping goes
    from a pattern (as in fnmatch, case-sensitive) on "l0", "l0_reverse", "l1", ... to one, a list
    or None; the first pattern that matches counts.

    Parameters
    ----------
    state_penalty : StatePenalty, sequence of them, mapping or None
        As ``backward`` takes it.
    cell : str
        The network's cell.
    runs : sequence of str
        "l0", "l0_reverse", "l1", ... as there are.

    Returns
    -------
    list of tuple
        For each of `runs`.

    Raises
    ------
    TypeError
        If something else than a state penalty is given.
    ValueError
        If a pattern matches nothing, or a penalty is not for this cell.

    Examples
    --------
    >>> from normrnn.state_penalties import TAR, ActivityL2, resolve
    >>> resolve([ActivityL2(0.1), TAR(2.0)], "gru", ["l0", "l1"])
    [(ActivityL2(strength=0.1),), (ActivityL2(strength=0.1), TAR(strength=2.0))]
    >>> resolve({"l0": TAR(2.0)}, "gru", ["l0", "l1"])
    [(TAR(strength=2.0),), ()]
    """
    if state_penalty is None:
        return [() for _ in runs]
    if not isinstance(state_penalty, Mapping):
        penalties = _checked("state_penalty", state_penalty, cell)
        last = runs[-1].partition("_")[0]
        return [
            tuple(one for one in penalties if one.everywhere or run.partition("_")[0] == last)
            for run in runs
        ]
    resolved: dict[str, tuple[StatePenalty, ...]] = {}
    for pattern, given in state_penalty.items():
        if not isinstance(pattern, str):
            raise TypeError(
                f"state_penalty: expected patterns of type str, got {type(pattern).__name__}"
            )
        penalties = () if given is None else _checked(f"state_penalty[{pattern!r}]", given, cell)
        matched = [run for run in runs if fnmatchcase(run, pattern)]
        if not matched:
            raise ValueError(
                f"state_penalty: expected a pattern that matches one of {list(runs)}, "
                f"got {pattern!r}"
            )
        for run in matched:
            resolved.setdefault(run, penalties)
    return [resolved.get(run, ()) for run in runs]


def _checked(argument: str, given: object, cell: str) -> tuple[StatePenalty, ...]:
    penalties = given if isinstance(given, list | tuple) else [given]
    for one in penalties:
        if not isinstance(one, StatePenalty):
            raise TypeError(f"{argument}: expected a state penalty, got {type(one).__name__}")
        if one.cells is not None and cell not in one.cells:
            expected = f"{type(one).__name__} with cell {' or '.join(map(repr, one.cells))} only"
            raise ValueError(f"{argument}: expected {expected}, got {cell!r}")
    return tuple(penalties)
