"""A row of a run: one point, what to time there, and who takes part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FORWARD, TAPE, TRAIN, UPDATE, STEP, PLAIN = "forward", "tape", "train", "update", "step", "plain"
TURN = 0.1  # seconds


@dataclass(frozen=True)
class Row:
    """One point, what to time there, and who takes part.

    Attributes
    ----------
    group : str
        What `--groups` calls it.
    point : Point, UpdatePoint, ...
        A named tuple of strings and numbers, for it goes to other processes, with

        - ``title``: as the tables tell it;
        - ``problem()``: its arrays, the same in every process;
        - ``ours``: where normrnn's own calls are made;
        - ``peaks``: which peaks of the machine to measure before it;
        - ``work(operation)``: the ``flops`` or ``bytes`` that are to be done;
        - ``check(operation, got, expected)``: compares two arrays of results.
    operations : tuple of str
        What to time of each contender.
    contenders : dict of str to str
        Name: where it is defined.
    threads : int
    beside : str, optional
        An operation timed in turns with each of `operations`: the same without what the row is
        about. What comes out is the ratio of normrnn's two, `cost`. A peer that has it does it,
        too, where otherwise the caches would hold more for it than for normrnn.
    turn : float
        Seconds that one is timed before it is another's turn.
    """

    group: str
    point: Any
    operations: tuple[str, ...]
    contenders: dict[str, str]
    threads: int
    beside: str | None = None
    turn: float = TURN
