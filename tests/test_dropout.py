"""Dropout of every kind: the random bits, the equations, and what the masks may depend on.

One file, for every kind of dropout goes through the same drawn problems.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import normrnn as nr
from helpers import derivative_on_one_side
from normrnn import reference
from normrnn.reference import masks
from normrnn.reference.cells import CELLS
from runs import assert_close, assert_same_bits, in_float64, outcome
from strategies import (
    HIDDEN_SIZES,
    Problem,
    ProblemArrays,
    dropouts,
    everything,
    kinds_of,
    problems,
)

KINDS = masks.KINDS
RAGGED = (6, 0, 3, 5, 1)
SMALL = Problem("lstm", 6, 5, 9, 17, 2, True, True, False, RAGGED, True, "float64", seed=0)


@st.composite
def dropped_problems(draw: st.DrawFn, **limits: Any) -> tuple[Problem, dict[str, Any]]:
    problem = draw(problems(**limits))
    return problem, draw(dropouts(problem.cell))


# --- random bits


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # the known answers that the authors of Philox publish with it, for philox4x32 10
        (
            (0, 0, 0, 0),
            (0, 0),
            (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
        ),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox(counter: tuple[int, ...], key: tuple[int, int], words: tuple[int, ...]) -> None:
    assert tuple(int(w) for w in masks.philox(counter, key[0] + (key[1] << 32))) == words


def test_every_element_has_bits_of_its_own() -> None:
    """16 of the 128 bits of the right counter, by the definition and one at a time."""
    drawn = masks.numbers(seed=77, stream=21, times=2, rows=3, columns=130)
    for t, row, column in np.ndindex(drawn.shape):
        q, rest = divmod(column, 64)
        pair, rest = divmod(rest, 32)
        lane, rest = divmod(rest, 4)
        word, half = divmod(rest, 2)
        block = masks.philox((8 * q + lane, row, t, 21), 77)
        assert drawn[t, row, column] == int(block[2 * pair + word]) >> (16 * half) & 0xFFFF


# Square roots of sample sizes: a share of n draws is off by sqrt(p (1 - p) / n), and one of some
# dozen such tests leaves five of these with a chance of 1e-5. The seed is fixed.
@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_rate(p: float) -> None:
    dropout = nr.Dropout(output=p)
    kept = masks.kept(dropout, 3, "output", 0, (64, 64, 256))
    assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / kept.size) + 2**-17


def test_numbers_are_uniform() -> None:
    drawn = masks.numbers(seed=4, stream=0, times=32, rows=32, columns=256)
    for digits in (drawn >> 8, drawn & 0xFF):
        counts = np.bincount(digits.ravel(), minlength=256)
        expected = drawn.size / 256
        chi_square = np.sum((counts - expected) ** 2 / expected)
        assert abs(chi_square - 255) < 5 * np.sqrt(2 * 255)  # mean and deviation of 255 degrees


def test_elements_are_independent() -> None:
    """Chi-square of one degree, 25 being five deviations, between elements and their neighbours."""
    dropout = nr.Dropout(**dict.fromkeys(KINDS, 0.5))

    def drawn(kind: str = "output", seed: int = 6, index: int = 0) -> np.ndarray:
        return masks.kept(dropout, seed, kind, index, (32, 64, 128))

    first = drawn()
    pairs = [(first, drawn(seed=7)), (first, drawn(index=1)), (first, drawn(seed=6 + (1 << 32)))]
    pairs += [(first, drawn(kind)) for kind in KINDS if kind != "output"]
    pairs += [(np.roll(first, 1, axis), first) for axis in range(3)]
    pairs += [(np.roll(first, shift, 2), first) for shift in (2, 4, 32, 64)]
    for a, b in pairs:
        table = np.array([[np.sum((a == i) & (b == j)) for j in (0, 1)] for i in (0, 1)], float)
        expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
        assert np.sum((table - expected) ** 2 / expected) < 25


def y_kept(problem: Problem, forward: dict[str, Any], **options: Any) -> np.ndarray:
    """Which elements of y are kept, [T, B, H], of a layer whose outputs are never 0."""
    assert problem.layers == 1
    a = problem.arrays()
    out = nr.forward(problem.cell, a.x, a.params, a.h0, a.c0, **forward, **options)
    return out.y != 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("per_sequence", [False, True])
def test_the_core_draws_the_bits_of_the_reference(dtype: str, per_sequence: bool) -> None:
    """Compact: test_targets.py runs it again for every SIMD target."""
    for hidden in (*HIDDEN_SIZES, 63, 64, 65, 128, 200):
        for p, seed in ((0.5, 0), (0.03, 2**64 - 1), (0.97, 2**33 + 1)):
            problem = Problem(
                "rnn_tanh", 4, 3, 2, hidden, 1, False, True, False, None, True, dtype, seed=hidden
            )
            dropout = nr.Dropout(output=p, per_sequence=per_sequence)
            shape = (1 if per_sequence else 4, 3, hidden)
            expected = np.broadcast_to(
                masks.kept(dropout, seed, "output", 0, shape), (4, 3, hidden)
            )
            np.testing.assert_array_equal(
                y_kept(problem, {"dropout": dropout, "seed": seed}), expected
            )


# --- equations


@settings(max_examples=100)
@given(
    drawn=dropped_problems(
        hidden=(1, 3, 9), dtypes=("float64",), max_times=4, max_batch=3, max_inputs=4, max_layers=2
    )
)
def test_every_gradient_of_the_reference_is_the_derivative(
    drawn: tuple[Problem, dict[str, Any]],
) -> None:
    problem, dropout = drawn
    arrays = problem.arrays()
    grads = outcome(reference, problem, arrays, dropout)

    def loss_and_pattern(at: ProblemArrays) -> tuple[float, np.ndarray]:
        """And which ReLUs are on: the loss is smooth as long as these stay."""
        out = reference.forward(
            problem.cell, at.x, at.params, at.h0, at.c0, **problem.options, **dropout
        )
        loss = np.sum(out.y * at.dy) + np.sum(out.h_n * at.dh_n)
        if problem.has_c:
            loss += np.sum(out.c_n * at.dc_n)
        on = [after[0] > 0 for r in out.tape.runs for after in r.after]
        return float(loss), np.array(on if "relu" in problem.cell else [])

    direction = arrays.direction(np.random.default_rng(problem.seed))
    slope = derivative_on_one_side(lambda s: loss_and_pattern(arrays.moved(s, direction)))
    assume(slope is not None)
    along = sum(np.sum(grads[name] * d) for name, d in direction.items())
    # Fourth order in float64, of sums that scaling by up to 10 a layer makes larger.
    np.testing.assert_allclose(along, slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("per_sequence", [False, True])
def test_reference_agrees_with_pytorch(per_sequence: bool) -> None:
    """A loop over steps with our masks, differentiated by PyTorch: an LSTM with every kind."""
    problem = replace(SMALL, layers=1, bidirectional=False, lengths=None)
    arrays, dropout = (
        problem.arrays(),
        nr.Dropout(**dict.fromkeys(KINDS, 0.3), per_sequence=per_sequence),
    )
    shape = (problem.times, problem.batch, problem.hidden)
    drawn = masks.draw(dropout, 5, True, 0, True, 4, shape, np.dtype("float64"))
    of_x = masks.factor(dropout, 5, "input", 0, (*shape[:2], problem.inputs), np.dtype("float64"))

    leaf = {
        name: torch.tensor(a, requires_grad=True)
        for name, a in {"x": arrays.x, "h0": arrays.h0, "c0": arrays.c0, **arrays.params}.items()
    }
    w_hh = leaf["weight_hh_l0"] * torch.tensor(drawn.weight)
    h, c = leaf["h0"][0], leaf["c0"][0]
    x, outputs = leaf["x"] * torch.tensor(of_x), []
    for t in range(problem.times):
        mask = drawn.at(t)
        gates = torch.nn.functional.linear(x[t], leaf["weight_ih_l0"], leaf["bias_ih_l0"])
        gates = gates + torch.nn.functional.linear(
            h * torch.tensor(mask.state), w_hh, leaf["bias_hh_l0"]
        )
        i, f, g, o = gates.chunk(4, dim=1)
        new_c = f.sigmoid() * c + i.sigmoid() * g.tanh() * torch.tensor(mask.candidate)
        new_h = o.sigmoid() * new_c.tanh()
        h = torch.where(torch.tensor(mask.update[0]) > 0, new_h, h)
        c = torch.where(torch.tensor(mask.update[1]) > 0, new_c, c)
        outputs.append(h * torch.tensor(mask.output))
    y = torch.stack(outputs)
    loss = (y * torch.tensor(arrays.dy)).sum() + (h * torch.tensor(arrays.dh_n[0])).sum()
    (loss + (c * torch.tensor(arrays.dc_n[0])).sum()).backward()
    expected = {"y": y, "h_n": h[None], "c_n": c[None]}
    expected |= {f"d{n}": leaf[n].grad for n in ("x", "h0", "c0")}
    expected |= {f"d {n}": leaf[n].grad for n in arrays.params}
    for implementation in (reference, nr):
        actual = outcome(implementation, problem, arrays, {"dropout": dropout, "seed": 5})
        del actual["h_norm"]
        assert_close(actual, {n: a.detach().numpy() for n, a in expected.items()}, "float64")


def check(problem: Problem, dropout: dict[str, Any], **options: Any) -> None:
    arrays = problem.arrays()
    expected = outcome(reference, problem, in_float64(arrays), dropout)
    actual = outcome(nr, problem, arrays, dropout, **options)
    assert_close(actual, expected, problem.dtype, problem.amplification)


@settings(max_examples=200)
@given(drawn=dropped_problems())
def test_core_agrees_with_the_reference(drawn: tuple[Problem, dict[str, Any]]) -> None:
    check(*drawn)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_core_agrees_for_each_kind_alone(cell: str, kind: str) -> None:
    if kind in kinds_of(cell):
        check(
            replace(SMALL, cell=cell, layers=3), {"dropout": nr.Dropout(**{kind: 0.4}), "seed": 8}
        )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_core_agrees_at_every_edge_of_vectors_and_tiles(cell: str, dtype: str) -> None:
    """Compact: test_targets.py runs it again for every SIMD target."""
    for hidden in (*HIDDEN_SIZES, 65):
        problem = replace(SMALL, cell=cell, hidden=hidden, inputs=hidden, dtype=dtype, seed=hidden)
        check(problem, everything(cell))
    for batch in range(1, 30, 2):
        problem = replace(SMALL, cell=cell, batch=batch, lengths=None, dtype=dtype, hidden=9)
        check(problem, everything(cell, per_sequence=True))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("empty", ["times", "batch", "inputs"])
def test_core_agrees_on_empty_dimensions(cell: str, empty: str) -> None:
    problem = replace(SMALL, cell=cell, lengths=None, **{empty: 0})
    check(problem, everything(cell))
    check(problem, everything(cell, per_sequence=True))


@pytest.mark.parametrize("cell", CELLS)
def test_core_agrees_in_bfloat16(cell: str) -> None:
    """How a value rounds can depend on the last bit of a sum: 2^-8 of it, over a few steps."""
    problem = replace(SMALL, cell=cell, dtype="float32", hidden=33, with_initial=False)
    arrays, forward = problem.arrays(), everything(cell) | {"precision": "bfloat16"}
    expected = outcome(reference, problem, arrays, forward)
    for name, array in outcome(nr, problem, arrays, forward).items():
        scale = max(1.0, np.max(np.abs(expected[name])))
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=2e-2 * scale, err_msg=name)
        # Nearly everything rounds the same way, and then agrees as in float32.
        assert np.mean(np.abs(array - expected[name]) > 1e-5 * scale) < 0.2, name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_layer_reads_what_the_one_below_hands_on_in_bfloat16(cell: str, kind: str) -> None:
    """And not what that one's own product reads, which may be masked otherwise."""
    if kind in kinds_of(cell):
        problem = replace(SMALL, cell=cell, dtype="float32", hidden=33, with_initial=False)
        forward = {"dropout": nr.Dropout(**{kind: 0.3}), "seed": 5, "precision": "bfloat16"}
        y, expected = (outcome(m, problem, problem.arrays(), forward)["y"] for m in (nr, reference))
        np.testing.assert_allclose(y, expected, rtol=0, atol=2e-2)


# --- what masks depend on, and what not


@pytest.mark.parametrize(
    "problem",
    [
        Problem("lstm", 9, 24, 9, 33, 2, True, True, True, None, True, "float32", seed=1),
        Problem("gru", 6, 5, 16, 220, 1, False, True, False, None, True, "float32", seed=0),
        Problem("lstm", 60, 16, 96, 96, 3, False, True, False, None, True, "float32", seed=2),
        Problem("rnn_relu", 60, 8, 70, 70, 2, True, True, False, None, True, "float64", seed=3),
    ],
    ids=lambda p: f"{p.cell}-B{p.batch}-H{p.hidden}-L{p.layers}",
)
@pytest.mark.parametrize("precision", [None, "bfloat16"])
def test_same_bits_for_any_number_of_threads(problem: Problem, precision: str | None) -> None:
    if precision and problem.dtype == "float64":
        precision = None
    if problem.batch == 24:
        problem = replace(problem, lengths=tuple(1 + 7 * i % 9 for i in range(24)))
    arrays = problem.arrays()
    forward = everything(problem.cell, 0.2) | {"precision": precision}
    expected = outcome(nr, problem, arrays, forward, num_threads=1)
    for threads in (2, 3, 7):
        assert_same_bits(outcome(nr, problem, arrays, forward, num_threads=threads), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_does_not_feel_its_neighbours(cell: str) -> None:
    """Others may be longer, shorter or absent behind it; batch first or not."""
    problem = replace(SMALL, cell=cell, lengths=(4, 2, 3, 6, 5))
    arrays, forward = problem.arrays(), everything(cell)
    whole = outcome(nr, problem, arrays, forward)
    first = replace(problem, batch=2, lengths=(4, 2))
    cut = {
        n: getattr(arrays, n)[:, :2]
        for n in ("x", "h0", "c0", "dy", "dh_n", "dc_n")
        if getattr(arrays, n) is not None
    }
    part = outcome(nr, first, replace(arrays, **cut), forward)
    for name in ("y", "h_n", "dx", "dh0"):
        np.testing.assert_array_equal(part[name], whole[name][:, :2], err_msg=name)
    turned = {n: getattr(arrays, n).swapaxes(0, 1) for n in ("x", "dy")}
    other = outcome(nr, replace(problem, batch_first=True), replace(arrays, **turned), forward)
    np.testing.assert_array_equal(other["y"].swapaxes(0, 1), whole["y"])
    np.testing.assert_array_equal(other["dx"].swapaxes(0, 1), whole["dx"])


def test_seeds_tell_masks_apart() -> None:
    problem = replace(SMALL, layers=1, bidirectional=False, lengths=None)
    forward = {"dropout": nr.Dropout(output=0.5)}
    seeds = (0, 1, 2**32, 2**63, np.uint64(2**64 - 1))
    drawn = [y_kept(problem, forward | {"seed": seed}) for seed in seeds]
    assert len({kept.tobytes() for kept in drawn}) == len(seeds)
    assert (drawn[0] == y_kept(problem, forward | {"seed": 0})).all()


def test_masks_differ_between_layers_directions_steps_and_sequences() -> None:
    dropout = nr.Dropout(state=0.5)
    drawn = {
        masks.kept(dropout, 1, "state", i, (1, 4, 64))[0, b].tobytes()
        for i in range(6)
        for b in range(4)
    }
    assert len(drawn) == 24


def test_one_mask_for_a_sequence_is_constant_in_time() -> None:
    problem = replace(SMALL, layers=1, bidirectional=False, lengths=None)
    forward = {"dropout": nr.Dropout(output=0.5, per_sequence=True), "seed": 1}
    kept = y_kept(problem, forward)
    assert (kept == kept[0]).all()
    assert (kept[0, 1:] != kept[0, 0]).any(axis=1).all()  # sequences differ
    assert (y_kept(problem, {"dropout": nr.Dropout(output=0.5), "seed": 1}) != kept).any()


# --- modes


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "forward",
    [
        {"dropout": nr.Dropout()},
        {"dropout": nr.Dropout(per_sequence=True), "seed": 3},
        {"dropout": nr.Dropout(output=1e-6, state=7e-6, zoneout_h=1e-6), "seed": 3},  # below 2^-17
        {"dropout": nr.Dropout(0.5, 0.5, 0.5, 0.5, weight=0.5), "training": False},
        {"seed": 3},
    ],
    ids=["nothing", "per_sequence", "tiny", "evaluation", "seed alone"],
)
def test_nothing_dropped_gives_the_bits_of_a_plain_pass(cell: str, forward: dict[str, Any]) -> None:
    problem = replace(SMALL, cell=cell, dtype="float32")
    arrays = problem.arrays()
    assert_same_bits(outcome(nr, problem, arrays, forward), outcome(nr, problem, arrays))
    assert_same_bits(
        outcome(reference, problem, arrays, forward), outcome(reference, problem, arrays)
    )


def test_nearly_everything_dropped_stays_finite() -> None:
    forward = everything("lstm", 1 - 1e-9)
    problem = replace(SMALL, with_initial=False)
    arrays = problem.arrays()
    assert all(np.isfinite(a).all() for a in outcome(nr, problem, arrays, forward).values())
    assert not nr.forward("lstm", arrays.x, arrays.params, **forward).y.any()


@given(drawn=dropped_problems(), precision=st.sampled_from([None, "bfloat16"]))
def test_without_a_tape_the_outputs_are_the_same(
    drawn: tuple[Problem, dict[str, Any]], precision: str | None
) -> None:
    """Forward passes alone can drop too, for samples of the predictive distribution."""
    problem, dropout = drawn
    if problem.dtype == "float64":
        precision = None
    a = problem.arrays()
    with_tape, without = (
        nr.forward(
            problem.cell,
            a.x,
            a.params,
            a.h0,
            a.c0,
            **problem.options,
            **dropout,
            need_grad=need,
            precision=precision,
        )
        for need in (True, False)
    )
    np.testing.assert_array_equal(without.y, with_tape.y)
    np.testing.assert_array_equal(without.h_n, with_tape.h_n)


@given(problem=problems(), p=st.sampled_from([0.1, 0.5, 0.9]))
def test_zoneout_in_evaluation_is_the_mean(problem: Problem, p: float) -> None:
    dropout = nr.Dropout(**dict.fromkeys(kinds_of(problem.cell), p))
    forward = {"dropout": dropout, "training": False, "need_grad": False}
    a, b = problem.arrays(), in_float64(problem.arrays())
    actual = nr.forward(problem.cell, a.x, a.params, a.h0, a.c0, **problem.options, **forward)
    expected = reference.forward(
        problem.cell, b.x, b.params, b.h0, b.c0, **problem.options, **forward
    )
    states = {"y": expected.y, "h_n": expected.h_n} | (
        {"c_n": expected.c_n} if problem.has_c else {}
    )
    assert_close({name: getattr(actual, name) for name in states}, states, problem.dtype)


def test_zoneout_in_evaluation_by_hand() -> None:
    params = {"weight_ih_l0": np.ones((1, 1)), "weight_hh_l0": np.zeros((1, 1))}
    x, h0 = np.full((1, 1, 1), 3.0), np.full((1, 1, 1), 7.0)
    evaluation = {"dropout": nr.Dropout(zoneout_h=0.25), "training": False, "need_grad": False}
    assert nr.forward("rnn_relu", x, params, h0, **evaluation).h_n.item() == 0.25 * 7 + 0.75 * 3


def positive(problem: Problem) -> ProblemArrays:
    """Arrays with which ReLU networks are linear."""
    arrays = problem.arrays()
    positive = {n: np.abs(getattr(arrays, n)) for n in ("x", "h0")}
    return replace(arrays, params={n: np.abs(w) for n, w in arrays.params.items()}, **positive)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "zoneout_c"])
def test_the_mean_over_masks_is_the_undropped_output(kind: str) -> None:
    """Where the output is linear in the mask: a linear network, or one step of a GRU.

    Of 4000 masks the mean is off by 1/63 of a deviation; 5 of these leave a chance of 1e-6 for each
    of some dozen elements. The seeds are fixed.
    """
    cell = "gru" if kind == "candidate" else "rnn_relu"
    times = 2 if kind in ("input", "output", "between") else 1  # masks that come back have squares
    problem = Problem(
        cell,
        times,
        2,
        5,
        6,
        2 if kind == "between" else 1,
        False,
        True,
        False,
        None,
        True,
        "float64",
        seed=4,
    )
    arrays = positive(problem)
    dropout = nr.Dropout(**{kind: 0.3})

    def run(**forward: Any) -> np.ndarray:
        return nr.forward(cell, arrays.x, arrays.params, arrays.h0, **forward).y

    samples = np.stack([run(dropout=dropout, seed=seed) for seed in range(4000)])
    expected = run(dropout=dropout, training=False, need_grad=False)
    deviation = samples.std(axis=0) / np.sqrt(len(samples))
    assert (deviation > 0).any()
    assert (np.abs(samples.mean(axis=0) - expected) <= 5 * deviation + 1e-12).all()


def test_zoned_units_keep_their_state() -> None:
    problem = replace(SMALL, layers=1, bidirectional=False, lengths=None)
    a = problem.arrays()
    forward = {"dropout": nr.Dropout(zoneout_h=0.4, zoneout_c=0.6), "seed": 11}
    shape = (problem.times, problem.batch, problem.hidden)
    keep = masks.kept(forward["dropout"], 11, "zoneout_h", 0, shape)
    y = nr.forward("lstm", a.x, a.params, a.h0, a.c0, **forward).y
    before = np.concatenate([a.h0, y[:-1]])
    np.testing.assert_array_equal(y == before, ~keep)


def test_dropping_weights_needs_weights_that_are_not_packed() -> None:
    a = SMALL.arrays()
    frozen = nr.freeze("lstm", a.params)
    message = (
        r"\Adropout.weight: expected 0 with frozen params, which are packed already, got 0.5\Z"
    )
    with pytest.raises(ValueError, match=message):
        nr.forward("lstm", a.x, frozen, dropout=nr.Dropout(weight=0.5), seed=1)
    evaluation = {"dropout": nr.Dropout(weight=0.5), "training": False}
    others = {"dropout": nr.Dropout(0.1, 0.2, 0.3, 0.4, 0.5), "seed": 1}
    for forward in (evaluation, others):
        np.testing.assert_array_equal(
            nr.forward("lstm", a.x, frozen, **forward).y,
            nr.forward("lstm", a.x, a.params, **forward).y,
        )


def test_one_layer_has_nothing_between() -> None:
    problem = replace(SMALL, layers=1)
    a = problem.arrays()
    for params in (a.params, nr.freeze("lstm", a.params)):
        plain, other = (
            nr.forward("lstm", a.x, params, dropout=dropout, seed=1).y
            for dropout in (None, nr.Dropout(between=0.5))
        )
        np.testing.assert_array_equal(plain, other)


def test_a_second_backward_pass_gives_the_same() -> None:
    a = SMALL.arrays()
    tape = nr.forward("lstm", a.x, a.params, a.h0, **everything("lstm")).tape
    a.x[...] = np.nan  # the tape does not need it
    first, second = (nr.backward(tape, a.dy, a.dh_n) for _ in range(2))
    assert_same_bits(first.params | {"x": first.x}, second.params | {"x": second.x})


def test_dropped_numbers_are_not_read_beyond_the_end_of_a_sequence() -> None:
    arrays = SMALL.arrays()
    past = np.arange(SMALL.times)[:, None] >= np.array(RAGGED)
    dirty = replace(arrays, x=arrays.x.copy(), dy=arrays.dy.copy())
    dirty.x[past] = dirty.dy[past] = np.nan
    forward = everything("lstm")
    assert_same_bits(outcome(nr, SMALL, dirty, forward), outcome(nr, SMALL, arrays, forward))


@pytest.mark.parametrize("kind", KINDS)
def test_masks_take_a_bit_an_element(kind: str) -> None:
    """Besides them at most one copy of h as the next layer's input or as an operand, or of W."""
    params = nr.init_params("lstm", 64, 128, num_layers=2)
    x = np.zeros((50, 8, 64), np.float32)
    plain = nr.forward("lstm", x, params).tape.nbytes
    own = nr.forward("lstm", x, params, dropout=nr.Dropout(**{kind: 0.5}), seed=1).tape.nbytes
    elements = 50 * 8 * 128
    copies = {"between": 4 * elements, "state": 2 * 4 * 51 * 8 * 128, "weight": 2 * 4 * 512 * 128}
    bits = max(2 * elements, 2 * 512 * 128) // 8
    assert copies.get(kind, 0) < own - plain <= 1.01 * copies.get(kind, 0) + bits


# --- errors

SEED = "an integer from 0 to 2**64 - 1"
CALL = {"dropout": nr.Dropout(output=0.5), "seed": 1}


@pytest.mark.parametrize("implementation", [nr, reference])
@pytest.mark.parametrize(
    ("cell", "changes", "error", "message"),
    [
        (
            "gru",
            {"seed": None},
            TypeError,
            f"seed: expected {SEED} with dropout in training, got NoneType",
        ),
        ("gru", {"seed": -1}, ValueError, f"seed: expected {SEED}, got -1"),
        ("gru", {"seed": 2**64}, ValueError, f"seed: expected {SEED}, got {2**64}"),
        (
            "rnn_relu",
            {"dropout": nr.Dropout(candidate=0.5)},
            ValueError,
            "dropout.candidate: expected 0 for the cell 'rnn_relu', which has no candidate, "
            "got 0.5",
        ),
        (
            "gru",
            {"dropout": nr.Dropout(zoneout_c=0.25)},
            ValueError,
            "dropout.zoneout_c: expected 0 for the cell 'gru', which has one state, got 0.25",
        ),
        (
            "gru",
            {"dropout": nr.Dropout(zoneout_h=0.25), "training": False},
            ValueError,
            "need_grad: expected False for zoneout with training=False, got True",
        ),
    ],
)
def test_refuses(
    implementation: Any, cell: str, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    params = nr.init_params(cell, 2, 3)
    with pytest.raises(error) as caught:
        implementation.forward(cell, np.zeros((2, 1, 2), np.float32), params, **(CALL | changes))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1.0}, f"seed: expected {SEED}, got float"),
        ({"seed": True}, f"seed: expected {SEED}, got bool"),
        ({"seed": np.array(1)}, f"seed: expected {SEED}, got ndarray"),
        ({"dropout": 0.5}, "dropout: expected a Dropout or None, got float"),
        ({"training": 1}, "training: expected True or False, got int"),
    ],
)
def test_refuses_other_types(changes: dict[str, Any], message: str) -> None:
    params = nr.init_params("gru", 2, 3)
    with pytest.raises(TypeError) as caught:
        nr.forward("gru", np.zeros((2, 1, 2), np.float32), params, **(CALL | changes))
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("value", "error", "got"),
    [
        (1.0, ValueError, "1.0"),
        (-0.1, ValueError, "-0.1"),
        (float("nan"), ValueError, "nan"),
        ("0.5", TypeError, "str"),
        (True, TypeError, "bool"),
    ],
)
def test_probabilities(kind: str, value: object, error: type[Exception], got: str) -> None:
    with pytest.raises(error) as caught:
        nr.Dropout(**{kind: value})
    assert str(caught.value) == f"{kind}: expected a number in [0, 1), got {got}"


def test_per_sequence_is_a_flag() -> None:
    with pytest.raises(TypeError) as caught:
        nr.Dropout(per_sequence=1)
    assert str(caught.value) == "per_sequence: expected True or False, got int"


@pytest.mark.parametrize("cell", ["rnn_tanh", "indrnn_tanh"])
def test_a_state_that_zoneout_keeps_may_be_huge(cell: str) -> None:
    """Its square is infinite, and has no part in the gradient."""
    params = nr.init_params(cell, 3, 9)
    x, dy = np.ones((3, 1, 3), np.float32), np.ones((3, 1, 9), np.float32)
    options = {"dropout": nr.Dropout(zoneout_h=0.5), "seed": 3}
    out = nr.forward(cell, x, params, np.full((1, 1, 9), 2e19, np.float32), **options)
    grads = nr.backward(out.tape, dy)
    assert all(np.isfinite(g).all() for g in (grads.x, grads.h0, *grads.params.values()))
