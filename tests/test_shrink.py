"""`shrink`: the same outputs from fewer units, for every cell, stack, direction and dtype."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import normrnn as nr
from normrnn.reference import CELLS
from runs import TOLERANCE
from strategies import Problem, problems

SEPARABLE = [cell for cell in CELLS if not cell.endswith("_ln")]
Params = dict[str, np.ndarray]


def sparse(problem: Problem, density: float, heads: int = 1) -> Params:
    """Weights of a problem with heads, most of which are zero: whole columns and single ones."""
    rng = np.random.default_rng(problem.seed)
    params = problem.arrays().params
    columns = problem.directions * problem.hidden
    for k in range(heads):
        name = "weight_hy" if k == 0 else f"weight_{k}"
        params[name] = rng.standard_normal((3, columns)).astype(problem.dtype)
    params["bias_hy"] = rng.standard_normal(3).astype(problem.dtype)
    for name, w in params.items():
        if name.startswith("weight") and "ih_l0" not in name:
            w *= rng.random(w.shape[-1:]) < density
            w *= rng.random(w.shape) < 0.8
    return params


def outputs(problem: Problem, params: Params, heads: list[str], **initial: Any) -> Any:
    x = problem.arrays().x
    own = {name: w for name, w in params.items() if name != "weight_1"}  # forward refuses others
    out = nr.forward(problem.cell, x, own, **initial, **problem.options)
    return out, [nr.head_forward(out.y, {"weight_hy": params[head]}) for head in heads]


def brute_force(problem: Problem, params: Params, heads: list[str]) -> np.ndarray:
    """Live units [L*D, H] from the whole network unrolled as one graph of L*D*H units."""
    h, d, layers = problem.hidden, problem.directions, problem.layers
    suffixes = [f"l{k}{r}" for k in range(layers) for r in ("", "_reverse")[:d]]
    edges = np.zeros((layers * d * h, layers * d * h), bool)  # [from, to]
    for run, suffix in enumerate(suffixes):
        to = slice(run * h, (run + 1) * h)
        recurrent = params[f"weight_hh_{suffix}"]
        if recurrent.shape[1:] == (h,):
            edges[to, to] |= (recurrent != 0).reshape(-1, h, h).any(axis=0).T
        if run >= d:
            first = (run // d - 1) * d * h
            below = (params[f"weight_ih_{suffix}"] != 0).reshape(-1, h, d * h).any(axis=0)
            edges[first : first + d * h, to] |= below.T
    live = np.zeros(len(edges), bool)
    live[-d * h :] = np.any([(params[head] != 0).any(axis=0) for head in heads], axis=0)
    for _ in range(len(edges)):
        live |= edges[:, live].any(axis=1)
    return live.reshape(-1, h)


@given(
    problem=problems(cells=SEPARABLE, min_times=1, min_batch=1),
    density=st.floats(0, 1),
    heads=st.sampled_from([1, 2]),
)
def test_outputs_and_live_states_stay(problem: Problem, density: float, heads: int) -> None:
    names = ["weight_hy", "weight_1"][:heads]
    params = sparse(problem, density, heads)
    arrays = problem.arrays()
    copies = {name: w.copy() for name, w in params.items()}
    smaller = nr.shrink(problem.cell, params, heads=names)

    initial = {"h0": arrays.h0, "c0": arrays.c0}
    before, expected = outputs(problem, params, names, **initial)
    fewer = {k: None if s is None else smaller.take_states(s) for k, s in initial.items()}
    after, got = outputs(problem, smaller.params, names, **fewer)
    tolerance = TOLERANCE[problem.dtype]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1, np.abs(b).max(initial=0)))
    live = smaller.live[:, None, :]
    for a, b in ((after.h_n, before.h_n), (after.c_n, before.c_n)):
        if b is not None:
            expected_states = np.where(live, smaller.take_states(b), 0)
            scale = max(1, np.abs(expected_states).max(initial=0))
            np.testing.assert_allclose(
                np.where(live, a, 0), expected_states, rtol=0, atol=tolerance * scale
            )

    for name, w in params.items():  # left as it was
        np.testing.assert_array_equal(w, copies[name])
        assert smaller.params[name].dtype == problem.dtype
        assert smaller.params[name].flags.c_contiguous
        assert not np.shares_memory(smaller.params[name], w)


@given(problem=problems(cells=SEPARABLE), density=st.floats(0, 1))
def test_removes_all_it_can_and_nothing_more(problem: Problem, density: float) -> None:
    params = sparse(problem, density)
    smaller = nr.shrink(problem.cell, params)
    live = brute_force(problem, params, ["weight_hy"])
    assert smaller.hidden_size == max(1, live.sum(axis=1).max())
    assert smaller.old_hidden_size == problem.hidden
    for run, kept in enumerate(smaller.kept):
        assert (np.diff(kept) > 0).all()
        assert live[run].sum() == live[run, kept].sum()
        np.testing.assert_array_equal(smaller.live[run], live[run, kept])
    assert {k: w.shape for k, w in smaller.params.items() if "hy" not in k} == Problem(
        **{**vars(problem), "hidden": smaller.hidden_size}
    ).parameter_shapes()


@given(problem=problems(cells=SEPARABLE), density=st.floats(0, 1))
def test_a_second_time_changes_nothing(problem: Problem, density: float) -> None:
    once = nr.shrink(problem.cell, sparse(problem, density))
    twice = nr.shrink(problem.cell, once.params)
    assert (twice.kept == np.arange(once.hidden_size)).all()
    for name, w in once.params.items():
        np.testing.assert_array_equal(twice.params[name], w)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", SEPARABLE)
def test_all_dead_but_one_or_none(cell: str, bidirectional: bool) -> None:
    params = nr.init_params(cell, 3, 6, output_size=2, bidirectional=bidirectional, num_layers=2)
    for name, w in params.items():
        if name.startswith("weight_hh"):
            w[:] = 0
        elif name.startswith("weight_ih_l1"):
            w[:, 1:] = 0  # the last layer reads the first unit alone
    params["weight_hy"][:] = 0
    params["weight_hy"][1, -2] = 1  # and the head the last but one of the last direction
    smaller = nr.shrink(cell, params)
    assert smaller.hidden_size == 1
    assert smaller.params["weight_hy"].shape == (2, 1 + bidirectional)
    assert smaller.kept[[0, -1]].tolist() == [[0], [4]]
    assert smaller.live.sum() == 2
    params["weight_hy"][:] = 0
    smaller = nr.shrink(cell, params)
    assert smaller.hidden_size == 1
    assert not smaller.live.any()


def test_a_layer_with_fewer_live_units_is_filled_up() -> None:
    params = nr.init_params("gru", 3, 5, num_layers=2, output_size=2, rng=1)
    params["weight_hy"][:, [0, 1, 3, 4]] = 0
    params["weight_hh_l1"][:, [0, 1, 3, 4]] = 0
    params["weight_ih_l1"][:, 4] = params["weight_hh_l0"][:, 4] = 0
    smaller = nr.shrink("gru", params)
    assert smaller.kept.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert smaller.live.tolist() == [[True] * 4, [False, False, True, False]]


def test_every_gate_counts() -> None:
    for gate in range(4):
        params = nr.init_params("lstm", 2, 3, output_size=1)
        params["weight_hy"][:, 1] = params["weight_hh_l0"][:, 1] = 0
        assert nr.shrink("lstm", params).hidden_size == 2
        params["weight_hh_l0"][3 * gate, 1] = 1e-30
        assert nr.shrink("lstm", params).hidden_size == 3


def test_a_unit_that_only_feeds_itself_or_the_dead_is_dead() -> None:
    params = nr.init_params("rnn_tanh", 2, 3, output_size=1)
    params["weight_hy"][:, 1:] = 0
    params["weight_hh_l0"][:] = [[1, 0, 0], [0, 1, 1], [0, 0, 0]]  # 2 feeds 1, 1 feeds itself
    assert nr.shrink("rnn_tanh", params).kept.tolist() == [[0]]
    params["weight_hh_l0"][0, 1] = 1  # now 2 feeds 1, and 1 feeds 0
    assert nr.shrink("rnn_tanh", params).hidden_size == 3


def test_tolerance() -> None:
    params = nr.init_params("gru", 2, 4, output_size=1)
    params["weight_hy"][:, 2] = params["weight_hh_l0"][:, 2] = [1e-3]
    assert nr.shrink("gru", params).hidden_size == 4
    assert nr.shrink("gru", params, tol=float(np.float32(1e-3))).hidden_size == 3
    params["weight_hy"][:, 2] = np.nan  # a NaN is not small
    assert nr.shrink("gru", params, tol=1.0).kept.tolist() == [[2]]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_training_goes_on_where_it_was(bidirectional: bool) -> None:
    """With the rule's slots taken along, the next update is that of the large network."""
    rng = np.random.default_rng(0)
    params = nr.init_params(
        "lstm", 3, 8, num_layers=2, bidirectional=bidirectional, output_size=2, dtype="float64"
    )
    dead = [1, 2, 6]
    d = 2 if bidirectional else 1
    for name, w in params.items():
        if "weight_hh" in name:
            w[:, dead] = 0
        elif name in ("weight_hy", "weight_ih_l1", "weight_ih_l1_reverse"):
            w.reshape(len(w), d, 8)[:, :, dead] = 0
    x, dy = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 2, 2))
    rule = nr.Adam(0.01)
    state = nr.init_state(rule, params)
    for slot in rule.slots:
        for w in state[slot].values():
            w[...] = rng.random(w.shape)
    smaller = nr.shrink("lstm", params)
    assert smaller.hidden_size == 5
    taken = {slot: smaller.take_params(state[slot]) for slot in rule.slots} | {"step": 0}

    def step(weights: Params, slots: dict[str, Any]) -> Params:
        out = nr.forward("lstm", x, weights)
        dh, head = nr.head_backward(out.y, dy, weights)
        nr.update(weights, nr.backward(out.tape, dh).params | head, slots, rule=rule)
        return weights

    expected = smaller.take_params(step(params, state))
    for name, w in step(smaller.params, taken).items():
        np.testing.assert_allclose(w, expected[name], rtol=0, atol=1e-13, err_msg=name)


def test_other_parameters_and_frozen_ones() -> None:
    params = nr.init_params("gru", 2, 4, output_size=1)
    params["weight_hy"][:, 2] = params["weight_hh_l0"][:, 2] = 0
    other = {"embedding": np.ones((9, 2), np.float32)}
    smaller = nr.shrink("gru", params | other).params
    assert smaller["embedding"].shape == (9, 2)
    assert smaller["bias_hy"].shape == (1,)
    for name, w in nr.shrink("gru", nr.freeze("gru", params)).params.items():
        np.testing.assert_array_equal(w, smaller[name])


GOOD = nr.init_params("gru", 2, 4, output_size=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("gru_ln", GOOD, {}), ValueError, "cell: expected a cell whose units can be removed one"),
        (("gr", GOOD, {}), ValueError, "cell: expected one of"),
        (("lstm", GOOD, {}), ValueError, "weight_hh_l0: expected"),
        (("gru", [GOOD], {}), TypeError, "params: expected a mapping, got list"),
        (("gru", {}, {}), ValueError, "heads: expected names of parameters, got 'weight_hy'"),
        (("gru", GOOD, {"heads": []}), ValueError, "heads: expected at least one name, got none"),
        (("gru", GOOD, {"heads": "weight_hy"}), TypeError, "heads: expected a sequence of names"),
        (
            ("gru", GOOD, {"heads": ["weight_hh_l0"]}),
            ValueError,
            "heads: expected matrices that read the output, got 'weight_hh_l0'",
        ),
        (
            ("gru", GOOD | {"weight_hy": np.ones((1, 5), np.float32)}, {}),
            ValueError,
            "weight_hy: expected shape (O, 4), got (1, 5)",
        ),
        (("gru", GOOD | {"weight_hy": [[1]]}, {}), TypeError, "weight_hy: expected an ndarray"),
        (("gru", GOOD, {"tol": -1}), ValueError, "tol: expected a finite number >= 0, got -1.0"),
        (("gru", GOOD, {"tol": "0"}), TypeError, "tol: expected a finite number >= 0, got str"),
        (
            ("gru", GOOD | {"weight_hh_l0": np.ones((12, 5), np.float32)}, {}),
            ValueError,
            "weight_hh_l0: expected shape (12, 4), got (12, 5)",
        ),
    ],
)
def test_errors(arguments: Any, error: type[Exception], message: str) -> None:
    cell, params, options = arguments
    with pytest.raises(error, match=re.escape(message)):
        nr.shrink(cell, params, **options)


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"more": np.ones(4)}, ValueError, "arrays: expected names of parameters, got 'more'"),
        ({"weight_hy": [[1]]}, TypeError, "weight_hy: expected an ndarray, got list"),
        (
            {"weight_hh_l0": np.ones((6, 2))},
            ValueError,
            "weight_hh_l0: expected shape (12, 4), got (6, 2)",
        ),
    ],
)
def test_slots_of_another_network(arrays: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        nr.shrink("gru", GOOD).take_params(arrays)


@pytest.mark.parametrize("shape", [(1, 3), (2, 1, 4), (1, 1, 5)])
def test_states_of_another_shape(shape: tuple[int, ...]) -> None:
    message = re.escape(f"states: expected shape (1, B, 4), got {shape}")
    with pytest.raises(ValueError, match=message):
        nr.shrink("gru", GOOD).take_states(np.zeros(shape))
