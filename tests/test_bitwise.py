"""Bitwise the same for any number of threads, split of the batch, alignment of the inputs, and run.

Compact: test_targets.py runs it again for every other SIMD target.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from functools import partial
from itertools import accumulate, pairwise, product
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from normrnn import _core, reference
from runs import outcome
from strategies import Problem, ProblemArrays, alone, by_sequences, by_units

THREADS = (1, 2, 3, 7, 16)
OFFSETS = (0, 1, 2, 5)  # elements behind the start of a cache line
RUNS = 20
# Ten ways to cut a batch, in fifths of it: the first parts, and the rest is the last one.
HEADS = ((), (1,), (2,), (3,), (4,), (1, 1), (1, 2), (2, 1), (2, 2), (1, 1, 1))
OF_A_ROW = ("y", "h_n", "c_n", "dx", "dh0", "dc0")  # the others are sums over the batch
Combinations = Iterable[tuple[int, int, int]]  # threads, index of the split, offset


def small_team(cell: str) -> Problem:
    """Just enough for a team; most of its parts are for one worker, or 4000 rounds would last."""
    times = 4 if _core.config()["target"] == "avx512" else 2
    return Problem(cell, times, 24, 9, 33, 1, False, True, True, None, True, "float32", seed=3)


def placed(value: Any, offset: int) -> Any:
    """Copy arrays to `offset` elements behind the start of a cache line."""
    if isinstance(value, dict):
        return {name: placed(array, offset) for name, array in value.items()}
    if value is None:
        return None
    memory = np.empty(value.size + 64, value.dtype)
    start = -memory.ctypes.data % 64 // value.itemsize + offset
    moved = memory[start : start + value.size].reshape(value.shape)
    assert (moved.ctypes.data - offset * value.itemsize) % 64 == 0
    moved[...] = value
    return moved


def part(
    problem: Problem, arrays: ProblemArrays, rows: slice, offset: int
) -> tuple[Problem, ProblemArrays]:
    """Some of a problem's sequences, every array placed anew."""
    smaller = replace(
        problem,
        batch=rows.stop - rows.start,
        lengths=problem.lengths and problem.lengths[rows],
    )

    def cut(name: str) -> Any:
        array = getattr(arrays, name)
        if array is not None and name != "params":
            first = problem.batch_first and name in ("x", "dy")
            array = array[rows] if first else array[:, rows]
        return placed(array, offset)

    return smaller, ProblemArrays(**{f.name: cut(f.name) for f in fields(arrays)})


class Case:
    """A problem with its arrays cut and placed in every way."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        arrays = problem.arrays()
        self.parts: dict[tuple[int, int], list[tuple[Problem, ProblemArrays]]] = {}
        for (split, head), offset in product(enumerate(HEADS), OFFSETS):
            sizes = [fifths * (problem.batch // 5) for fifths in head]
            bounds = [*accumulate(sizes, initial=0), problem.batch]
            self.parts[split, offset] = [
                part(problem, arrays, slice(*pair), offset) for pair in pairwise(bounds)
            ]

    def digests(self, threads: int, split: int, offset: int) -> dict[str, str]:
        """SHA-256 of every result, the parts' put together; of the sums if there is one part."""
        found = [outcome(nr, *one, num_threads=threads) for one in self.parts[split, offset]]
        names = found[0] if len(found) == 1 else [name for name in OF_A_ROW if name in found[0]]

        def digest(name: str) -> str:
            axis = 0 if self.problem.batch_first and name in ("y", "dx") else 1
            arrays = [results[name] for results in found]
            whole = np.concatenate(arrays, axis) if len(arrays) > 1 else arrays[0]
            return hashlib.sha256(whole.tobytes()).hexdigest()

        return {name: digest(name) for name in names}

    def check(self, combinations: Combinations) -> int:
        expected = self.digests(1, 0, 0)
        count = 0
        for threads, split, offset in combinations:
            actual = self.digests(threads, split, offset)
            where = f"{threads} threads, split {HEADS[split]}, offset {offset}"
            assert actual == {name: expected[name] for name in actual}, where
            count += 1
        return count

    def check_without_tape(self, offset: int) -> None:
        """Without a tape x is read where it lies, and most states are not kept."""
        ((problem, arrays),) = self.parts[0, offset]
        run = partial(nr.forward, problem.cell, arrays.x, arrays.params, arrays.h0, arrays.c0)
        out, expected = (run(need_grad=g, num_threads=2, **problem.options) for g in (False, True))
        assert out.y.tobytes() == expected.y.tobytes()
        assert out.h_n.tobytes() == expected.h_n.tobytes()


def test_every_combination() -> None:
    combinations = (c for _ in range(RUNS) for c in product(THREADS, range(10), OFFSETS))
    assert Case(small_team("lstm")).check(combinations) == 4000


@pytest.mark.parametrize("cell", _core.cells())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [by_units, by_sequences, alone])
def test_every_cell_and_plan(make: Callable[[str], Problem], dtype: str, cell: str) -> None:
    case = Case(replace(make(cell), dtype=dtype))
    # Every number of threads meets every offset, and a few of the splits.
    case.check((THREADS[i % 5], (3 * i + i // 10) % 10, OFFSETS[i % 4]) for i in range(20))
    for offset in OFFSETS:
        case.check_without_tape(offset)


@pytest.mark.parametrize("precision", [None, "bfloat16"])
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm", "lstm_ln"])
def test_products_in_pieces(cell: str, precision: str | None) -> None:
    """Sums of many terms wait in the cache between pieces, where a tile has enough rows."""
    inputs, hidden, sequences = 900, 840, slice(3, 5)  # deep for both, also in pairs
    rng = np.random.default_rng(0)
    params = nr.init_params(cell, inputs if precision is None else 4 * inputs, hidden)
    x = rng.standard_normal((2, 20, params["weight_ih_l0"].shape[1]), np.float32)
    dy = rng.standard_normal((2, 20, hidden), np.float32)
    found = []
    for part in (slice(None), sequences):
        out = nr.forward(cell, x[:, part], params, precision=precision)
        found.append((out.y, nr.backward(out.tape, dy[:, part]).x))
    for whole, few in zip(*found, strict=True):
        assert whole[:, sequences].tobytes() == few.tobytes()
    if precision is None:  # sums of 2000 terms of order 1 / 40, a few ulp of float32 each
        expected = reference.forward(cell, x, params)
        np.testing.assert_allclose(found[0][0], expected.y, atol=2e-5)
        dx = reference.backward(expected.tape, dy).x
        np.testing.assert_allclose(found[0][1], dx, atol=2e-5 * float(np.abs(dx).max()))
