"""Hypothesis strategies: penalties of every kind from the registry, each parameter with its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import normrnn as nr
from normrnn.penalties import ElementwisePenalty, GroupPenalty, MatrixPenalty, registry
from normrnn.penalties.base import strength_names

OF_WEIGHTS, OF_GROUPS, OF_MATRICES = (
    [cls for cls in registry().values() if issubclass(cls, kind)]
    for kind in (ElementwisePenalty, GroupPenalty, MatrixPenalty)
)
GATES = {"rnn_tanh": "", "gru": "rzn", "lstm": "ifgo"}
numbers = st.floats(0.01, 0.9)


@dataclass(frozen=True)
class Block:
    """What a penalty of groups or matrices is for: a parameter, or one gate of it."""

    name: str
    rows: int
    columns: int
    gates: int  # of the parameter; 1 if it has none


def strength(draw: st.DrawFn) -> Any:
    """A number, one that falls from update to update, or one that is 0 at every other."""
    number = draw(numbers)
    falling, sometimes = (lambda step: number / step), (lambda step: number * (step % 2))
    return draw(st.sampled_from([number, falling, sometimes]))


def strengths_of(draw: st.DrawFn, cls: type) -> dict[str, Any]:
    return {name: strength(draw) for name in strength_names(cls)}


def generator(draw: st.DrawFn) -> np.random.Generator:
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


def factors(draw: st.DrawFn, shape: Sequence[int]) -> np.ndarray:
    """For each weight, or for each row, each column or all of a matrix; float32, some of them 0."""
    rng = generator(draw)
    shapes = [tuple(shape), (1,)]
    if len(shape) == 2:
        shapes += [(shape[0], 1), (shape[1],)]
    of_shape = rng.uniform(0, 2, draw(st.sampled_from(shapes)))
    of_shape[rng.uniform(size=of_shape.shape) < 0.1] = 0
    return of_shape.astype(np.float32)


def of_weights(
    draw: st.DrawFn, shapes: Mapping[str, Sequence[int]], dtype: str, *, after: bool
) -> Any:
    """A penalty of each weight of some parameters; `after`: which may act after the step."""
    cls = draw(st.sampled_from([one for one in OF_WEIGHTS if after or not one.constraint]))
    penalty = cls(**strengths_of(draw, cls))
    held = {f.name for f in fields(cls)}
    if "center" in held and draw(st.booleans()):
        rng = generator(draw)
        centers = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
        penalty = replace(penalty, center=centers)
    if "weights" in held and draw(st.integers(0, 3)) > 0:
        arrays = {name: factors(draw, shape) for name, shape in shapes.items()}
        alone = len(arrays) == 1 and draw(st.booleans())
        penalty = replace(penalty, weights=next(iter(arrays.values())) if alone else arrays)
    return wrapped(draw, penalty, after=after)


def of_groups(draw: st.DrawFn, block: Block, *, sparse: bool, divide: bool, after: bool) -> Any:
    """A penalty of the groups of a block; `divide`: whether by gates, too."""
    classes = [one for one in OF_GROUPS if after or not one.constraint]
    cls = draw(
        st.sampled_from([one for one in classes if sparse or one is not nr.SparseGroupLasso])
    )
    # Small groups of norm 0.001, say, would let UnitNorm show a rounding a thousandfold.
    counts = {"matrix": 1} | ({"gates": block.gates} if divide else {})
    if cls is not nr.UnitNorm:
        counts |= {"rows": block.rows, "columns": block.columns}
    groups = draw(st.sampled_from(sorted(counts)))
    weights: Any = None
    if draw(st.booleans()):
        weights = generator(draw).uniform(0.5, 2, counts[groups])
        weights = draw(st.sampled_from([weights, {block.name: weights}]))
    penalty = cls(**strengths_of(draw, cls), groups=groups, weights=weights)
    return wrapped(draw, penalty, after=after)


def of_matrix(draw: st.DrawFn, *, uniform_step: bool, after: bool) -> Any:
    cls = draw(st.sampled_from([one for one in OF_MATRICES if after or not one.constraint]))
    chosen = strengths_of(draw, cls)
    # Both sides iterate until rounding is what is left.
    options = {"tolerance": 1e-12} if cls is nr.SpectralNorm else {}
    penalty = cls(**chosen, **options)
    return wrapped(draw, penalty, after=after and uniform_step and cls.has_prox)


def wrapped(draw: st.DrawFn, penalty: Any, *, after: bool) -> Any:
    return nr.Prox(penalty) if after and not penalty.constraint and draw(st.booleans()) else penalty


def acts_after(term: Any) -> bool:
    return isinstance(term, nr.Prox) or term.constraint


def terms(draw: st.DrawFn, block: Block, shape: Sequence[int], dtype: str, uniform: bool) -> Any:
    """At most one penalty of weights and one of groups, and up to two of matrices; one after."""
    kinds = ["weights", "groups"]
    matrices = draw(st.integers(0, 2)) if len(shape) == 2 else 0
    chosen = draw(st.sets(st.sampled_from(kinds), min_size=0 if matrices else 1))
    found: list[Any] = []

    def may_act_after() -> bool:
        return not any(map(acts_after, found))

    if "weights" in chosen:
        found.append(of_weights(draw, {block.name: shape}, dtype, after=may_act_after()))
    if "groups" in chosen:
        found.append(
            of_groups(
                draw,
                block,
                sparse="weights" not in chosen,
                divide=len(shape) == 2 and not (matrices and block.gates > 1),
                after=may_act_after(),
            )
        )
    for _ in range(matrices):
        found.append(of_matrix(draw, uniform_step=uniform, after=may_act_after()))
    return found[0] if len(found) == 1 and draw(st.booleans()) else draw(st.permutations(found))


@st.composite
def penalties_of_a_network(
    draw: st.DrawFn,
    cell: str,
    shapes: Mapping[str, Sequence[int]],
    dtype: str,
    *,
    uniform_step: bool,
) -> dict[str, Any]:
    """A mapping in which arrays and matrices have terms of their own, and all else the last one."""
    letters, mapping = GATES[cell], {}
    for name in draw(st.lists(st.sampled_from(sorted(shapes)), unique=True, min_size=1)):
        shape = shapes[name]
        rows, columns = shape if len(shape) == 2 else (1, shape[0])
        gates = len(letters) if letters and name.endswith("_l0") else 1
        patterns = [name]
        if gates > 1 and len(shape) == 2:
            patterns = draw(
                st.sampled_from([[name], [f"{name}[*]"], [f"{name}[{g}]" for g in letters[-2:]]])
            )
        if patterns != [name]:
            rows //= gates
        for pattern in patterns:
            block = Block(name, rows, columns, gates)
            mapping[pattern] = terms(draw, block, shape, dtype, uniform_step)
    if draw(st.booleans()):
        weights = {name: shape for name, shape in shapes.items() if "bias" not in name}
        mapping["weight_*"] = of_weights(draw, weights, dtype, after=True)
    return mapping
