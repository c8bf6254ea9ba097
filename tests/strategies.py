"""Hypothesis strategies: whole recurrent problems, dropout and state penalties, from registries.

Long, for what is drawn for one pass stands together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import normrnn as nr
from normrnn import state_penalties
from normrnn.reference import CELLS
from normrnn.reference.masks import KINDS
from normrnn.state_penalties import FunctionOfStates, StatePenalty

# Around the widths of vector registers and of tiles of units, where kernels have their edges.
HIDDEN_SIZES = (1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33)


@dataclass(frozen=True)
class ProblemArrays:
    """The arrays of a problem; h0 and c0 are None if left out, c0 and dc_n if there is no c."""

    x: np.ndarray
    params: dict[str, np.ndarray]
    h0: np.ndarray | None
    c0: np.ndarray | None
    dy: np.ndarray
    dh_n: np.ndarray
    dc_n: np.ndarray | None

    def variables(self) -> dict[str, np.ndarray]:
        """What a loss has gradients in, by their names in runs.outcome."""
        named = {f"d {name}": w for name, w in self.params.items()}
        named |= {"dx": self.x, "dh0": self.h0, "dc0": self.c0}
        return {name: array for name, array in named.items() if array is not None}

    def direction(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw a direction in all variables at once, of length 1 in each of them."""
        drawn = {name: rng.standard_normal(a.shape) for name, a in self.variables().items()}
        return {name: d / max(np.linalg.norm(d), 1e-300) for name, d in drawn.items()}

    def moved(self, s: float, direction: dict[str, np.ndarray]) -> "ProblemArrays":
        """Go s times that direction from here."""
        at = {name: a + s * direction[name] for name, a in self.variables().items()}
        params = {name: at[f"d {name}"] for name in self.params}
        return replace(self, x=at["dx"], params=params, h0=at.get("dh0"), c0=at.get("dc0"))


@dataclass(frozen=True)
class Problem:
    """Sizes and options of one forward and backward pass; `seed` fixes the numbers."""

    cell: str
    times: int
    batch: int
    inputs: int
    hidden: int
    layers: int
    bidirectional: bool
    bias: bool
    batch_first: bool
    lengths: tuple[int, ...] | None
    with_initial: bool
    dtype: str
    seed: int

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def has_c(self) -> bool:
        return CELLS[self.cell].states == 2

    @property
    def amplification(self) -> float:
        """What a cell may multiply rounding errors by.

        Layer norm divides by sqrt(var + 1e-5). Of the few numbers in a narrow row the variance may
        by chance be near 0, and then that is 316; in rows of 16 it is seldom far from that of
        their distribution.
        """
        if not CELLS[self.cell].layer_norm:
            return 1
        return 316 if self.hidden < 16 else 10

    @property
    def bends(self) -> bool:
        """Whether it may bend sharply, as 1 / sqrt(var + 1e-5) does where var is near 0."""
        return CELLS[self.cell].layer_norm

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of forward."""
        return {"lengths": self.lengths, "batch_first": self.batch_first}

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.layers):
            inputs = self.inputs if layer == 0 else self.directions * self.hidden
            own = CELLS[self.cell].parameter_shapes(inputs, self.hidden, self.bias)
            for suffix in [f"l{layer}", f"l{layer}_reverse"][: self.directions]:
                shapes |= {f"{kind}_{suffix}": shape for kind, shape in own.items()}
        return shapes

    def arrays(self) -> ProblemArrays:
        """Draw every array: weights uniform in +-1/sqrt(H), gains 1 more, else standard normal."""
        rng = np.random.default_rng(self.seed)
        bound = self.hidden**-0.5

        def normal(*shape: int) -> np.ndarray:
            return rng.standard_normal(shape).astype(self.dtype)

        def sequence(features: int) -> np.ndarray:
            outer = (self.batch, self.times) if self.batch_first else (self.times, self.batch)
            return normal(*outer, features)

        def state() -> np.ndarray:
            return normal(self.layers * self.directions, self.batch, self.hidden)

        return ProblemArrays(
            x=sequence(self.inputs),
            params={
                name: (name.startswith("gain") + rng.uniform(-bound, bound, shape)).astype(
                    self.dtype
                )
                for name, shape in self.parameter_shapes().items()
            },
            h0=state() if self.with_initial else None,
            c0=state() if self.with_initial and self.has_c else None,
            dy=sequence(self.directions * self.hidden),
            dh_n=state(),
            dc_n=state() if self.has_c else None,
        )


def kinds_of(cell: str) -> list[str]:
    """The kinds of dropout that a cell can have."""
    model = CELLS[cell]
    without = [] if model.candidate else ["candidate"]
    return [k for k in KINDS if k not in [*without, *("zoneout_h", "zoneout_c")[model.states :]]]


def everything(cell: str, probability: float = 0.3, **others: Any) -> dict[str, Any]:
    """Arguments of forward that drop a bit of everything that the cell has."""
    dropout = nr.Dropout(**dict.fromkeys(kinds_of(cell), probability), **others)
    return {"dropout": dropout, "seed": 5}


@st.composite
def dropouts(draw: st.DrawFn, cell: str) -> dict[str, Any]:
    """Arguments of forward with any of a cell's kinds, at least one of them on."""
    chosen = draw(st.sets(st.sampled_from(kinds_of(cell)), min_size=1))
    levels = st.sampled_from([0.1, 0.3, 0.5, 0.9])
    dropout = nr.Dropout(
        **{kind: draw(levels) for kind in sorted(chosen)}, per_sequence=draw(st.booleans())
    )
    return {"dropout": dropout, "seed": draw(st.integers(0, 2**64 - 1))}


@st.composite
def penalties_of_states(draw: st.DrawFn, cell: str) -> list[StatePenalty]:
    """Draw some of all there are, in any order, the same one several times too."""
    strengths = st.floats(0, 4)
    one: list[st.SearchStrategy[StatePenalty]] = [
        st.builds(cls, strengths)
        for cls in state_penalties.registry().values()
        if issubclass(cls, FunctionOfStates)
    ]
    if cell in nr.Omega.cells:
        one.append(st.builds(nr.Omega, strengths, st.booleans(), st.sampled_from([1e-20, 1e-3])))
    return draw(st.lists(st.one_of(one), min_size=1, max_size=5))


# One problem for each way of make_plan (cpp/src/plan.cpp) to share out the work.
def by_units(cell: str) -> Problem:
    """Few sequences and large weights, which more workers than sequences read in shares."""
    hidden = {1: 380, 3: 220, 4: 192}[CELLS[cell].gates]
    return Problem(cell, 6, 5, 16, hidden, 1, False, True, False, None, True, "float32", seed=0)


def by_sequences(cell: str) -> Problem:
    """Ragged, through both directions of two layers; some parts are for one worker."""
    lengths = tuple(1 + 7 * i % 9 for i in range(24))
    return Problem(cell, 9, 24, 9, 33, 2, True, True, True, lengths, True, "float32", seed=1)


def alone(cell: str) -> Problem:
    """Too little work for a team, and no bias or initial state."""
    return Problem(cell, 4, 9, 3, 17, 1, False, False, False, None, False, "float32", seed=2)


@st.composite
def problems(
    draw: st.DrawFn,
    *,
    cells: Sequence[str] = tuple(CELLS),
    hidden: Sequence[int] = HIDDEN_SIZES,
    dtypes: Sequence[str] = ("float32", "float64"),
    min_times: int = 0,
    max_times: int = 7,
    min_batch: int = 0,
    max_batch: int = 5,
    max_inputs: int = 9,
    max_layers: int = 3,
    min_length: int = 0,
    ragged: bool | None = None,
) -> Problem:
    """Draw a problem; every argument narrows what is drawn. `ragged`: with lengths or without."""
    times = draw(st.integers(min_times, max_times))
    batch = draw(st.integers(min_batch, max_batch))
    lengths = st.lists(st.integers(min_length, times), min_size=batch, max_size=batch)
    if ragged is None:
        ragged = times >= min_length and draw(st.booleans())
    return Problem(
        cell=draw(st.sampled_from(sorted(cells))),
        times=times,
        batch=batch,
        inputs=draw(st.integers(1, max_inputs)),
        hidden=draw(st.sampled_from(hidden)),
        layers=draw(st.sampled_from([n for n in (1, 1, 2, 2, 3) if n <= max_layers])),
        bidirectional=draw(st.booleans()),
        bias=draw(st.booleans()),
        batch_first=draw(st.booleans()),
        lengths=tuple(draw(lengths)) if ragged else None,
        with_initial=draw(st.booleans()),
        dtype=draw(st.sampled_from(dtypes)),
        seed=draw(st.integers(0, 2**32 - 1)),
    )
