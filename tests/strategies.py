"""Hypothesis strategies: whole recurrent problems, drawn from what the registries hold; dropout."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import normrnn as nr
from normrnn.reference import CELLS
from normrnn.reference.masks import KINDS

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
