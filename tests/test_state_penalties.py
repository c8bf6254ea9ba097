"""State penalties and the clip of dL/dh_t: definitions, the reference's gradients, and the core.

One file, for all penalties share drawn states and problems.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import normrnn as nr
from calls import backward_arguments, normal, refuses
from helpers import derivative_on_one_side
from normrnn import _core, reference
from normrnn.state_penalties import FunctionOfStates, StatePenalty, registry
from runs import assert_close, assert_same_bits, in_float64, outcome
from strategies import HIDDEN_SIZES, Problem, ProblemArrays, penalties_of_states, problems

CELLS = sorted(_core.cells())
ELMAN = nr.Omega.cells
OF_STATES = [cls for cls in registry().values() if issubclass(cls, FunctionOfStates)]
ALL = [nr.ActivityL1(0.3), nr.ActivityL2(0.2), nr.AR(3.0), nr.TAR(2.0), nr.NormStabilizer(4.0)]
OMEGAS = [nr.Omega(0.2), nr.Omega(0.1, squared=True)]
# Finite differences of fourth order with float64 sums of some hundred terms: 1e-11 of rounding.
FINITE_DIFFERENCE = {"rtol": 1e-6, "atol": 1e-8}


def for_cell(cell: str) -> list[StatePenalty]:
    return ALL + (OMEGAS if cell in ELMAN else [])


def states_of(problem: Problem, arrays: ProblemArrays) -> tuple[float, list[Any]]:
    """The loss of test_reference.py, and h [T, B, H] and h0 of each run, by the reference."""
    out = reference.forward(
        problem.cell, arrays.x, arrays.params, arrays.h0, arrays.c0, **problem.options
    )
    loss = np.sum(out.y * arrays.dy) + np.sum(out.h_n * arrays.dh_n)
    if problem.has_c:
        loss += np.sum(out.c_n * arrays.dc_n)
    runs = []
    for run in out.tape.runs:
        states = [state[0] for state in run.states]
        h = np.array(states)[1:]
        reverse = run.suffix.endswith("_reverse")
        runs.append((run.suffix, h[::-1] if reverse else h, states[0], reverse))
    return float(loss), runs


def real(problem: Problem, h: np.ndarray) -> np.ndarray:
    """The states of the steps that sequences have."""
    lengths = problem.lengths or (problem.times,) * problem.batch
    return h[np.arange(problem.times)[:, None] < np.array(lengths, int)]


def pattern_of(problem: Problem, penalty: StatePenalty, h: np.ndarray, h0: np.ndarray) -> Any:
    """Which sides of which kinks the states are on."""
    signs = np.sign(real(problem, h)) if isinstance(penalty, nr.ActivityL1) else np.array(0)
    zero = np.array(0)
    if isinstance(penalty, nr.NormStabilizer):  # a norm bends at 0, most of all with one unit
        at = np.concatenate([h, h0[None]])
        zero = np.sign(at) if problem.hidden == 1 else (at != 0).any(axis=2)
    return np.concatenate([signs.ravel(), zero.ravel()])


@settings(max_examples=80)
@given(
    problem=problems(hidden=(1, 3, 17), dtypes=("float64",), max_times=5, max_batch=3, max_inputs=4)
)
@pytest.mark.parametrize("cls", OF_STATES)
def test_gradients_of_the_reference_are_derivatives(
    cls: type[StatePenalty], problem: Problem
) -> None:
    """Of loss + penalty, along a direction in every parameter, x, h0 and c0."""
    penalty = cls(3.0)
    # At h0 = 0 the norm stabiliser has a kink, which a test below is about.
    arrays = replace(problem, with_initial=True).arrays()
    grads = outcome(reference, problem, arrays, backward={"state_penalty": penalty})
    last = f"l{problem.layers - 1}"

    def total(at: ProblemArrays) -> tuple[float, np.ndarray]:
        loss, runs = states_of(problem, at)
        pattern = [np.zeros(0)]
        for suffix, h, h0, reverse in runs:
            if cls in (nr.AR, nr.TAR) and not suffix.startswith(last):
                continue
            loss += penalty.value(h, h0, lengths=problem.lengths, reverse=reverse)
            pattern.append(pattern_of(problem, penalty, h, h0))
        if "relu" in problem.cell:
            pattern += [np.ravel(real(problem, h) > 0) for _, h, _, _ in runs]
        return loss, np.concatenate(pattern)

    assert_allclose(grads["penalty"], total(arrays)[0] - states_of(problem, arrays)[0], atol=1e-10)
    direction = arrays.direction(np.random.default_rng(problem.seed))
    slope = derivative_on_one_side(lambda s: total(arrays.moved(s, direction)), problem.bends)
    assume(slope is not None)
    along = sum(np.sum(grads[name] * d) for name, d in direction.items())
    assert_allclose(along, slope, **FINITE_DIFFERENCE)


def test_omega_has_the_derivative_in_w_of_its_definition() -> None:
    """g and s from a loop of its own; only W's immediate derivative counts."""
    rng = np.random.default_rng(0)
    times, batch, hidden = 6, 3, 4
    params = nr.init_params("rnn_tanh", 2, hidden, dtype="float64")
    x, dy = rng.standard_normal((times, batch, 2)), rng.standard_normal((times, batch, hidden))
    out = nr.forward("rnn_tanh", x, params)
    w = params["weight_hh_l0"]
    g, s = [], []
    d_h = np.zeros((batch, hidden))
    for t in reversed(range(times)):
        g.append(d_h + dy[t])
        s.append(g[-1] * (1 - out.y[t] ** 2))
        d_h = s[-1] @ w
    g_norm = np.linalg.norm(np.array(g), axis=2)
    for squared in (False, True):
        omega = nr.Omega(0.7, squared=squared)

        def value(w: np.ndarray, power: int = 2 if squared else 1) -> float:
            ratio = np.linalg.norm(np.array(s) @ w, axis=2) / g_norm
            return 0.7 * float(np.sum((ratio**power - 1) ** 2))

        with_it = nr.backward(out.tape, dy, state_penalty=omega)
        without = nr.backward(out.tape, dy)
        assert_allclose(with_it.penalty, value(w), rtol=1e-12)
        added = with_it.params["weight_hh_l0"] - without.params["weight_hh_l0"]
        for i in range(hidden):
            for j in range(hidden):
                nudge = np.zeros((hidden, hidden))
                nudge[i, j] = 1e-5
                slope = (value(w + nudge) - value(w - nudge)) / 2e-5
                assert_allclose(added[i, j], slope, rtol=1e-6, atol=1e-8)  # of numbers of order 1
        rest = {n: a for n, a in with_it.params.items() if n != "weight_hh_l0"}
        rest |= {"x": with_it.x, "h0": with_it.h0, "h_norm": with_it.h_norm}
        plain = without.params | {"x": without.x, "h0": without.h0, "h_norm": without.h_norm}
        assert_same_bits(rest, {name: plain[name] for name in rest})


def test_omega_of_steps_without_a_gradient() -> None:
    """The floor leaves steps out; where s W is 0 the term counts and has no derivative."""
    params = nr.init_params("rnn_relu", 1, 2, dtype="float64")
    x = np.full((3, 1, 1), 1.0)
    dead = {n: -np.abs(w) if "ih" in n else w for n, w in params.items()}
    for module in (nr, reference):
        tape = module.forward("rnn_relu", x, dead).tape  # every ReLU is off: q = 0
        dy = np.ones((3, 1, 2))
        dy[1] = 0
        grads = module.backward(tape, dy, state_penalty=nr.Omega(2.0))
        assert grads.penalty == 4.0  # two steps with g, each (0 - 1)^2
        assert not grads.params["weight_hh_l0"].any()
        small = module.backward(tape, dy * 1e-11, state_penalty=nr.Omega(2.0))
        assert small.penalty == 0.0  # ||g||^2 = 2e-22
        counted = module.backward(tape, dy * 1e-11, state_penalty=nr.Omega(2.0, floor=1e-22))
        assert counted.penalty == 4.0


def check(problem: Problem, **options: Any) -> None:
    arrays = problem.arrays()
    expected = outcome(reference, problem, in_float64(arrays), backward=options)
    actual = outcome(nr, problem, arrays, backward=options)
    assert_close(actual, expected, problem.dtype, problem.amplification)


@settings(max_examples=200)
@given(problem=problems(cells=CELLS), data=st.data(), clip=st.sampled_from([None, 0.1, 0.5, 2.0]))
def test_core_agrees_with_the_reference(
    problem: Problem, data: st.DataObject, clip: float | None
) -> None:
    """Any combination, in float64: in float32 a state near 0 may take the other side of |h|."""
    chosen = data.draw(penalties_of_states(problem.cell))
    check(replace(problem, dtype="float64"), state_penalty=chosen, clip_state=clip)
    smooth = [one for one in chosen if not isinstance(one, nr.ActivityL1)]
    if "relu" not in problem.cell:
        check(replace(problem, dtype="float32"), state_penalty=smooth, clip_state=clip)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_agrees_at_every_edge_of_vectors_and_tiles(cell: str, dtype: str) -> None:
    """Compact: test_targets.py runs it again for every SIMD target."""
    options = {"state_penalty": for_cell(cell), "clip_state": 1.0}
    for hidden in HIDDEN_SIZES:
        ragged = (5, 0, 3, 5, 1, 2, 4)
        problem = Problem(cell, 5, 7, 3, hidden, 2, True, True, False, ragged, True, dtype, hidden)
        check(problem, **options)
    for batch in range(1, 14):  # each height of a tile
        problem = Problem(cell, 3, batch, 5, 9, 1, False, False, True, None, False, dtype, batch)
        check(problem, **options)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("empty", ["times", "batch", "lengths"])
def test_nothing_to_penalise(cell: str, empty: str) -> None:
    problem = Problem(cell, 4, 3, 2, 5, 2, True, True, False, None, True, "float64", seed=0)
    problem = replace(problem, **({"lengths": (0, 0, 0)} if empty == "lengths" else {empty: 0}))
    options = {"state_penalty": for_cell(cell), "clip_state": 1.0}
    check(problem, **options)
    assert outcome(nr, problem, problem.arrays(), backward=options)["penalty"] == 0


@pytest.mark.parametrize("precision", [None, "bfloat16"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "problem",
    [  # by sequences, by units, directions side by side, layers in step, ragged
        Problem("", 8, 60, 20, 40, 1, False, True, False, None, True, "float32", 0),
        Problem("", 8, 2, 30, 400, 1, True, True, True, None, True, "float32", 1),
        Problem("", 150, 1, 5, 19, 2, True, True, False, None, True, "float32", 2),
        Problem("", 150, 2, 5, 19, 3, False, True, False, (150, 40), True, "float32", 3),
        Problem("", 30, 30, 9, 33, 2, True, False, False, tuple(range(30)), False, "float32", 4),
    ],
)
def test_same_bits_for_any_number_of_threads(
    problem: Problem, cell: str, precision: str | None
) -> None:
    problem = replace(problem, cell=cell)
    options = {"precision": precision}, {"state_penalty": for_cell(cell), "clip_state": 0.5}
    arrays = problem.arrays()
    for w in arrays.params.values():
        w *= 0.5  # or a long sequence of ReLUs overflows
    expected = outcome(nr, problem, arrays, *options, num_threads=1)
    assert all(np.isfinite(array).all() for array in expected.values())
    for threads in (2, 3, 7):
        assert_same_bits(outcome(nr, problem, arrays, *options, num_threads=threads), expected)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm"])
def test_bfloat16_agrees_with_the_reference(cell: str) -> None:
    """How a value is rounded can depend on the last bit of a sum: 2^-8 of it, by a few weights."""
    problem = Problem(cell, 5, 7, 3, 9, 2, True, True, False, None, True, "float32", seed=0)
    options = {"precision": "bfloat16"}, {"state_penalty": for_cell(cell), "clip_state": 1.0}
    actual, expected = (outcome(m, problem, problem.arrays(), *options) for m in (nr, reference))
    for name, array in actual.items():
        scale = max(1.0, np.abs(expected[name]).max())
        assert_allclose(array, expected[name], rtol=0, atol=2e-2 * scale, err_msg=name)


def test_autograd_agrees() -> None:
    """The penalties written down in PyTorch, for one layer of an LSTM with ragged sequences."""
    problem = Problem("lstm", 6, 3, 2, 5, 1, False, True, False, (6, 2, 1), True, "float64", 3)
    arrays = problem.arrays()
    module = torch.nn.LSTM(2, 5, dtype=torch.float64)
    module.load_state_dict({name: torch.tensor(w) for name, w in arrays.params.items()})
    h0, c0 = (torch.tensor(a, requires_grad=True) for a in (arrays.h0, arrays.c0))
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(arrays.x), [6, 2, 1])
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(module(packed, (h0, c0))[0])
    sequences = [y[:length, b] for b, length in enumerate(problem.lengths)]
    every = torch.cat(sequences)
    steps = torch.cat([torch.diff(h, dim=0) for h in sequences])
    norms = [torch.cat([h0[0, b : b + 1], h]).norm(dim=1) for b, h in enumerate(sequences)]
    stable = torch.stack([(torch.diff(n) ** 2).mean() for n in norms]).mean()
    value = 0.3 * every.abs().sum() + 0.2 * (every**2).sum() + 3 * (every**2).mean()
    value = value + 2 * (steps**2).mean() + 4 * stable
    value.backward()
    actual = nr.backward(
        nr.forward("lstm", arrays.x, arrays.params, arrays.h0, arrays.c0, lengths=[6, 2, 1]).tape,
        state_penalty=ALL,
    )
    # float64, some hundred terms of order 1
    assert_allclose(actual.penalty, value.item(), rtol=1e-13)
    assert_allclose(actual.h0, h0.grad.numpy(), atol=1e-12)
    assert_allclose(actual.c0, c0.grad.numpy(), atol=1e-12)
    for name, w in module.named_parameters():
        assert_allclose(actual.params[name], w.grad.numpy(), atol=1e-12, err_msg=name)


def test_the_value_is_that_of_the_numpy_class() -> None:
    """On an output of one layer, as a user would ask for it; float32 rounds each h^2 not at all."""
    rng = np.random.default_rng(0)
    params = nr.init_params("gru", 3, 33)
    x, h0 = (rng.standard_normal(s, np.float32) for s in ((7, 4, 3), (1, 4, 33)))
    lengths = [7, 3, 0, 5]
    out = nr.forward("gru", x, params, h0, lengths=lengths)
    for penalty in ALL:
        grads = nr.backward(out.tape, state_penalty=penalty)
        expected = penalty.value(out.y, h0[0], lengths=lengths)
        # TAR's differences are taken in float32, of states of order 1
        assert_allclose(grads.penalty, expected, rtol=1e-6, err_msg=str(penalty))
    assert nr.backward(out.tape).penalty == 0.0


def test_a_state_of_norm_zero_has_no_direction() -> None:
    """As the default initial state is: no NaN, and where all states are so no gradient."""
    params = nr.init_params("rnn_relu", 1, 3, dtype="float64")
    off = {n: -np.abs(w) for n, w in params.items()}
    for module in (nr, reference):
        tape = module.forward("rnn_relu", np.ones((4, 2, 1)), params).tape
        grads = module.backward(tape, state_penalty=nr.NormStabilizer(10.0))
        assert all(np.isfinite(g).all() for g in [*grads.params.values(), grads.h0])
        assert np.isfinite(grads.penalty)
        assert grads.params["weight_ih_l0"].any()
        tape = module.forward("rnn_relu", np.ones((4, 2, 1)), off).tape
        grads = module.backward(tape, state_penalty=nr.NormStabilizer(10.0))
        assert grads.penalty == 0
        assert not any(g.any() for g in [*grads.params.values(), grads.h0])


def test_which_layers() -> None:
    """A lone one everywhere, AR and TAR on the last layer; a mapping where its patterns say."""
    problem = Problem("gru", 5, 3, 2, 4, 3, True, True, False, None, True, "float64", seed=1)
    arrays = problem.arrays()
    tape = nr.forward("gru", arrays.x, arrays.params, arrays.h0).tape
    assert tape.runs == ["l0", "l0_reverse", "l1", "l1_reverse", "l2", "l2_reverse"]
    _, runs = states_of(problem, arrays)
    at = {suffix: (h, h0, reverse) for suffix, h, h0, reverse in runs}

    def value(penalty: Any, suffixes: Sequence[str]) -> float:
        return sum(penalty.value(at[s][0], at[s][1], reverse=at[s][2]) for s in suffixes)

    last = ["l2", "l2_reverse"]
    l2, ar, tar = nr.ActivityL2(0.5), nr.AR(2.0), nr.TAR(3.0)
    norm = nr.NormStabilizer(1.0)
    for given_penalty, expected in [
        (l2, value(l2, tape.runs)),
        ([ar, tar], value(ar, last) + value(tar, last)),
        ((l2, ar), value(l2, tape.runs) + value(ar, last)),
        (
            {"l0": ar, "l1*": [tar, norm]},
            value(ar, ["l0"]) + sum(value(p, ["l1", "l1_reverse"]) for p in (tar, norm)),
        ),
        ({"*_reverse": norm, "*": l2}, value(norm, tape.runs[1::2]) + value(l2, tape.runs[::2])),
        ({"l0*": None, "*": l2}, value(l2, tape.runs[2:])),
        ([], 0.0),
        (nr.ActivityL1(0.0), 0.0),
    ]:
        found = nr.backward(tape, state_penalty=given_penalty).penalty
        assert_allclose(found, expected, rtol=1e-13)  # float64 sums of some hundred terms


@pytest.mark.parametrize("cell", CELLS)
def test_clip_state(cell: str) -> None:
    problem = Problem(cell, 6, 3, 2, 17, 2, False, True, False, None, True, "float64", seed=0)
    arrays = problem.arrays()
    tape = nr.forward(cell, arrays.x, arrays.params, arrays.h0, arrays.c0).tape
    plain = nr.backward(tape, arrays.dy)
    assert_same_bits({"": plain.h_norm_clipped}, {"": plain.h_norm})
    loose = nr.backward(tape, arrays.dy, clip_state=1e6)
    assert_same_bits(
        loose.params | {"x": loose.x, "h0": loose.h0},
        plain.params | {"x": plain.x, "h0": plain.h0},
    )
    assert_allclose(loose.h_norm_clipped, plain.h_norm, rtol=1e-14)  # a multiply-add, or two steps
    tight = nr.backward(tape, arrays.dy, clip_state=0.1)
    assert (tight.h_norm_clipped <= 0.1 * np.sqrt(3 * 17) * (1 + 1e-12)).all()
    assert (tight.h_norm_clipped <= tight.h_norm * (1 + 1e-14)).all()
    assert (tight.h_norm_clipped[1] < tight.h_norm[1]).all()
    # The last step of the last layer: its dL/dh is dy alone.
    assert_allclose(tight.h_norm[1, -1], np.linalg.norm(arrays.dy[-1]), rtol=1e-12)
    expected = np.linalg.norm(np.clip(arrays.dy[-1], -0.1, 0.1))
    assert_allclose(tight.h_norm_clipped[1, -1], expected, rtol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping_does_not_hide_nan(cell: str, dtype: str) -> None:
    problem = Problem(cell, 5, 3, 2, 17, 1, False, True, False, None, True, dtype, seed=0)
    arrays = problem.arrays()
    clip = {"clip_state": 0.5}
    clean = outcome(nr, problem, arrays, backward=clip)
    arrays.dy[3, 1, 4] = np.nan
    dirty = outcome(nr, problem, arrays, backward=clip)
    assert np.isnan(dirty["dx"][:4, 1]).all()
    assert np.isnan(dirty["h_norm"][0, :4]).all()
    assert np.isnan(dirty["clipped"][0, :4]).all()
    assert np.isnan(dirty["d weight_hh_l0"]).any()
    others = {"dx": dirty["dx"][:, [0, 2]]}
    assert_same_bits(others, {"dx": clean["dx"][:, [0, 2]]})
    arrays.dy[3, 1, 4] = np.inf  # this is what a clip is for
    assert np.isfinite(outcome(nr, problem, arrays, backward=clip)["dx"]).all()


def test_activity_of_nan_and_infinity() -> None:
    """A state that is NaN shows in every penalty; a clip alone does not make NaN of infinity."""
    params = {n: np.abs(w) for n, w in nr.init_params("rnn_relu", 1, 2, dtype="float64").items()}
    x = np.ones((3, 1, 1))
    x[1] = np.inf
    tape = nr.forward("rnn_relu", x, params).tape
    assert np.isfinite(nr.backward(tape, np.ones((3, 1, 2)), clip_state=1.0).x).all()
    x[1] = np.nan
    tape = nr.forward("rnn_relu", x, params).tape
    for penalty in ALL:
        grads = nr.backward(tape, state_penalty=penalty)
        assert np.isnan(grads.penalty)
        assert np.isnan(grads.h_norm[0, 1])


L1 = nr.L1(0.1)
WHICH = "['l0']"


@pytest.mark.parametrize(
    ("given_penalty", "error", "message"),
    [
        (0.1, TypeError, "state_penalty: expected a state penalty, got float"),
        (L1, TypeError, "state_penalty: expected a state penalty, got L1"),
        ([nr.AR(1.0), L1], TypeError, "state_penalty: expected a state penalty, got L1"),
        ({"l0": L1}, TypeError, "state_penalty['l0']: expected a state penalty, got L1"),
        ({0: nr.AR(1.0)}, TypeError, "state_penalty: expected patterns of type str, got int"),
        (
            {"l1": nr.AR(1.0)},
            ValueError,
            f"state_penalty: expected a pattern that matches one of {WHICH}, got 'l1'",
        ),
        (
            nr.Omega(1.0),
            ValueError,
            "state_penalty: expected Omega with cell 'rnn_tanh' or 'rnn_relu' only, got 'lstm'",
        ),
    ],
)
def test_wrong_state_penalties(given_penalty: Any, error: type[Exception], message: str) -> None:
    refuses("backward", {"state_penalty": given_penalty}, error, re.escape(message))
    out = reference.forward("lstm", normal(4, 2, 3), nr.init_params("lstm", 3, 5))
    with pytest.raises(error, match=rf"\A{re.escape(message)}\Z"):
        reference.backward(out.tape, state_penalty=given_penalty)


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf])
def test_wrong_clips(value: float) -> None:
    message = f"clip_state: expected a finite number > 0, got {float(value)}"
    refuses("backward", {"clip_state": value}, ValueError, re.escape(message))
    tape = reference.forward("gru", normal(4, 2, 3), nr.init_params("gru", 3, 5)).tape
    with pytest.raises(ValueError, match=re.escape(message)):
        reference.backward(tape, clip_state=value)
    with pytest.raises(TypeError, match="clip_state: expected a finite number > 0, got str"):
        nr.backward(**backward_arguments(), clip_state="1")  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", registry().values())
def test_wrong_strengths(cls: Any) -> None:
    for bad in (-1.0, np.nan, np.inf):
        message = f"strength: expected a finite number >= 0, got {bad}"
        with pytest.raises(ValueError, match=rf"\A{re.escape(message)}\Z"):
            cls(bad)
    with pytest.raises(TypeError, match="strength: expected a finite number >= 0, got bool"):
        cls(True)
    with pytest.raises(ValueError, match=r"^strength: expected a number <= 1e38, got 1e\+39$"):
        cls(1e39)


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([-1, 2], ValueError, "lengths: expected values from 0 to 4, got -1"),
        ([9, 9], ValueError, "lengths: expected values from 0 to 4, got 9"),
        ([3], ValueError, "lengths: expected shape (2,), got (1,)"),
        ([1.0, 2.0], TypeError, "lengths: expected integers, got dtype float64"),
    ],
)
def test_wrong_lengths(lengths: Any, error: type[Exception], message: str) -> None:
    for function in (nr.AR(1.0).value, nr.AR(1.0).gradient):
        with pytest.raises(error, match=rf"\A{re.escape(message)}\Z"):
            function(np.ones((4, 2, 3)), lengths=lengths)


def test_wrong_options_of_omega() -> None:
    with pytest.raises(TypeError, match=r"\Asquared: expected True or False, got int\Z"):
        nr.Omega(1.0, squared=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\Afloor: expected a finite number > 0, got 0.0\Z"):
        nr.Omega(1.0, floor=0)


def test_a_tape_that_is_none_with_a_state_penalty() -> None:
    message = "tape: expected the tape of a forward pass with need_grad=True, got NoneType"
    refuses("backward", {"tape": None, "state_penalty": nr.AR(1.0)}, TypeError, re.escape(message))
