"""Training steps with state penalties, dropout, or a cell with layer norm or independent units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import normrnn as nr
from bench.points import Array, Point, Problem, assert_close, assert_close_but_for_kinks
from bench.row import PLAIN

P = 0.3  # what is dropped
SEED = 1
ELMAN = ("rnn_tanh", "rnn_relu")
CELLS = (*ELMAN, "gru", "lstm")
# Cells that are measured against another one, which stands for the step without.
PLAIN_CELLS = {
    "rnn_tanh_ln": "rnn_tanh",
    "rnn_relu_ln": "rnn_relu",
    "gru_ln": "gru",
    "lstm_ln": "lstm",
    "indrnn_tanh": "rnn_tanh",
    "indrnn_relu": "rnn_relu",
}


@dataclass(frozen=True)
class Option:
    """What a training step has beside the plain one, and which cells can have it."""

    penalties: tuple[nr.state_penalties.StatePenalty, ...] = ()
    clip_state: float | None = None
    dropout: nr.Dropout | None = None
    cells: tuple[str, ...] = CELLS
    layers: int = 1

    @property
    def forward(self) -> dict[str, Any]:
        """Arguments of `forward`."""
        return {} if self.dropout is None else {"dropout": self.dropout, "seed": SEED}

    @property
    def backward(self) -> dict[str, Any]:
        """Arguments of `backward`."""
        return {"state_penalty": self.penalties or None, "clip_state": self.clip_state}


# Strengths are so large that a comparison of results sees a missing term; of means, very large.
STATES = {
    "nothing": Option(),
    "ActivityL1": Option((nr.ActivityL1(0.1),)),
    "ActivityL2": Option((nr.ActivityL2(0.1),)),
    "AR and TAR": Option((nr.AR(1e5), nr.TAR(1e5))),
    "NormStabilizer": Option((nr.NormStabilizer(1e5),)),
    "Omega": Option((nr.Omega(0.1),), cells=ELMAN),
    "Omega, squared": Option((nr.Omega(0.1, squared=True),), cells=ELMAN),
    "clip_state": Option(clip_state=1.0),
}
WITH_INDRNN = (*CELLS, "indrnn_tanh")
DROPOUT = {
    "input": Option(dropout=nr.Dropout(input=P), cells=WITH_INDRNN),
    "input, per_sequence": Option(
        dropout=nr.Dropout(input=P, per_sequence=True), cells=WITH_INDRNN
    ),
    "output": Option(dropout=nr.Dropout(output=P), cells=WITH_INDRNN),
    "between 2 layers": Option(dropout=nr.Dropout(between=P), cells=WITH_INDRNN, layers=2),
    "state": Option(dropout=nr.Dropout(state=P), cells=WITH_INDRNN),
    "candidate": Option(dropout=nr.Dropout(candidate=P), cells=("gru", "lstm")),
    "weight": Option(dropout=nr.Dropout(weight=P), cells=WITH_INDRNN),
    "zoneout_h": Option(dropout=nr.Dropout(zoneout_h=P), cells=WITH_INDRNN),
    "zoneout_c": Option(dropout=nr.Dropout(zoneout_c=P), cells=("lstm",)),
    "variational": Option(
        dropout=nr.Dropout(input=P, state=P, output=P, per_sequence=True), cells=WITH_INDRNN
    ),
}
OPTIONS = {"itself": Option(cells=tuple(PLAIN_CELLS)), **STATES, **DROPOUT}


class StepPoint(NamedTuple):
    """Forward + backward of a network with an option."""

    option: str  # a key of OPTIONS
    cell: str
    times: int  # T
    batch: int  # B
    inputs: int  # I
    hidden: int  # H
    ours = "our_norms:STEPS"
    peaks = ()

    @property
    def shape(self) -> Point:
        """The network."""
        return Point(*self[1:], layers=OPTIONS[self.option].layers)

    @property
    def title(self) -> str:
        """The point as it is told while it is measured."""
        return f"{self.shape.title}, {self.option}"

    def problem(self) -> StepProblem:
        """Draw its arrays."""
        problem = self.shape.problem()
        if self.option == "itself":
            plain = nr.init_params(PLAIN_CELLS[self.cell], self.inputs, self.hidden)
            return StepProblem(self, problem, replace(problem, params=plain))
        return StepProblem(self, problem, problem)

    def work(self, _operation: str) -> dict[str, float]:
        """Count nothing: a step is compared with the one without."""
        return {}

    def check(self, operation: str, got: Array, expected: Array) -> None:
        """Compare results; rounding grows over 100 steps of an untrained network.

        In float32 all are 4e-4 to 1.2e-3 off what float64 gives with layer norm, less without it.
        """
        if operation != PLAIN and "relu" in self.cell:
            assert_close_but_for_kinks(got, expected)
        else:
            assert_close(got, expected, 3e-3 if self.cell.endswith("_ln") else 1e-3)


@dataclass(frozen=True)
class StepProblem:
    """One point with its arrays, and those of the step without the option."""

    point: StepPoint
    problem: Problem
    plain: Problem

    @property
    def option(self) -> Option:
        """What the step has beside the plain one."""
        return OPTIONS[self.point.option]

    @property
    def plain_cell(self) -> str:
        """The cell of the step without."""
        return PLAIN_CELLS[self.point.cell] if self.plain is not self.problem else self.point.cell
