"""The core's update against the reference's, and what it refuses.

One file, for all of it draws rules, penalties and parameters by the same strategies.
"""

import re
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import normrnn as nr
from calls import misaligned, read_only
from normrnn import reference
from normrnn.penalties import ElementwisePenalty, Strength
from runs import in_float64, penalty_in_float64

DTYPES = ("float32", "float64")
NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "weight_hy", "bias_hy")
PATTERNS = ("weight_*", "weight_hh_*", "*", "*_l0", "bias_*", "bias_hy")
# An element passes some twenty roundings a step, of numbers of order 1; norms and the penalty are
# sums, in T within blocks of 4096 elements: at most a thousand additions to a lane.
ELEMENT = {"float32": 20 * 2**-23, "float64": 20 * 2**-52}
SUM = {"float32": 1000 * 2**-24, "float64": 1e-12}


def drawn(cls: type) -> st.SearchStrategy:
    """Instances of a rule or a penalty from the registry, whatever its fields are."""
    hints = get_type_hints(cls)
    number = st.floats(0.001, 0.9)
    of_type = [(float, number), (Strength, number), (bool, st.booleans())]
    drawn_fields = {
        f.name: strategy for f in fields(cls) for hint, strategy in of_type if hints[f.name] == hint
    }
    return st.builds(cls, **drawn_fields)


RULES = st.one_of([drawn(cls) for cls in nr.rules.registry().values()])
# Those of groups and whole matrices are in test_groups.py and test_matrices.py.
PENALTIES = st.one_of(
    [drawn(cls) for cls in nr.penalties.registry().values() if issubclass(cls, ElementwisePenalty)]
)


@st.composite
def penalty_arguments(draw: st.DrawFn, centers: dict[str, np.ndarray]) -> Any:
    def one() -> Any:
        penalty = draw(PENALTIES)
        if any(f.name == "center" for f in fields(penalty)) and draw(st.booleans()):
            penalty = replace(penalty, center=centers)
        return nr.Prox(penalty) if draw(st.booleans()) else penalty

    kind = draw(st.sampled_from(["none", "one", "mapping"]))
    if kind == "mapping":
        patterns = draw(st.lists(st.sampled_from(PATTERNS), unique=True, min_size=1))
        return {pattern: None if draw(st.integers(0, 3)) == 0 else one() for pattern in patterns}
    return one() if kind == "one" else None


def draw_params(dtype: str, seed: int, shapes: list[tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    params = {
        name: rng.standard_normal(shape).astype(dtype)
        for name, shape in zip(NAMES, shapes, strict=True)
    }
    for w in params.values():
        w[rng.uniform(size=w.shape) < 0.1] = 0  # where L1 has its kink
    return params


SHAPES = st.sampled_from([(0,), (1,), (3,), (17,), (5, 7), (4, 0), (64, 65), (3, 4096), (2, 3, 4)])


@settings(max_examples=500)
@given(
    data=st.data(),
    rule=RULES,
    shapes=st.lists(SHAPES, min_size=5, max_size=5),
    clip_norm=st.sampled_from([None, 0.01, 1.0, 1e9]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**32 - 1),
)
def test_agrees_with_the_reference(
    data: st.DataObject, rule: nr.rules.Rule, shapes: list, clip_norm: Any, dtype: str, seed: int
) -> None:
    params = draw_params(dtype, seed, shapes)
    centers = draw_params(dtype, seed + 1, shapes)
    penalty = data.draw(penalty_arguments(centers), "penalty")
    state = nr.init_state(rule, params) if rule.slots or data.draw(st.booleans()) else None
    expected, expected_state = in_float64(params), in_float64(state)
    for step in range(3):
        grads = draw_params(dtype, seed + 2 + step, shapes)
        before = deepcopy(grads)
        info = nr.update(params, grads, state, rule=rule, penalty=penalty, clip_norm=clip_norm)
        wanted = reference.update(
            expected,
            in_float64(grads),
            expected_state,
            rule=rule,
            penalty=penalty_in_float64(penalty),
            clip_norm=clip_norm,
        )
        for name, w in params.items():
            check(w, expected[name], dtype)
            np.testing.assert_array_equal(grads[name], before[name])
        for field in fields(info):
            actual = getattr(info, field.name)
            assert type(actual) is float
            # Weights that differ by ELEMENT have norms that do, and none is a sum of many.
            tolerance = {"rtol": SUM[dtype], "atol": 10 * ELEMENT[dtype]}
            np.testing.assert_allclose(actual, getattr(wanted, field.name), **tolerance)
        if state is not None:
            assert state["step"] == expected_state["step"] == step + 1
            for slot in rule.slots:
                for name, array in state[slot].items():
                    check(array, expected_state[slot][name], dtype)
        # What differs by then may not grow: the next step starts from the same numbers.
        expected, expected_state = in_float64(params), in_float64(state)


def check(actual: np.ndarray, expected: np.ndarray, dtype: str) -> None:
    assert actual.dtype == dtype
    scale = max(1.0, np.max(np.abs(expected), initial=0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=ELEMENT[dtype] * scale)


def whole_problem(dtype: str = "float32") -> dict[str, Any]:
    """Arguments of a step with slots, a penalty and clipping."""
    params = nr.init_params("gru", 3, 5, output_size=2, dtype=dtype)
    grads = {name: np.full_like(w, 0.5) for name, w in params.items()}
    rule = nr.Adam(0.1)
    state = nr.init_state(rule, params)
    nr.update(params, grads, state, rule=rule)
    return {"params": params, "grads": grads, "state": state, "rule": rule, "penalty": nr.L2(0.1)}


def assert_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """The call raises with just this message, and no array or step has changed."""
    before = deepcopy(arguments)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        nr.update(**arguments)
    for key in ("params", "grads"):
        for name, array in before[key].items():
            np.testing.assert_array_equal(arguments[key][name], array)
    assert arguments["state"]["step"] == before["state"]["step"]
    for slot in arguments["rule"].slots:
        for name, array in before["state"][slot].items():
            np.testing.assert_array_equal(arguments["state"][slot][name], array)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [("weight_ih_l0", (0, 0)), ("weight_hh_l0", (14, 4))])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_gradient_that_is_not_finite(
    dtype: str, bad: float, place: tuple, clip_norm: float | None
) -> None:
    name, index = place
    arguments = whole_problem(dtype) | {"clip_norm": clip_norm}
    arguments["grads"][name][index] = bad
    text = f"grads['{name}']: expected finite values, got {bad} at index {index}"
    assert_refused(arguments, FloatingPointError, text)
    arguments["grads"][name][index] = 0
    nr.update(**arguments)  # and the next step works
    assert arguments["state"]["step"] == 2


@pytest.mark.parametrize(
    "penalty",
    [
        {"weight_hh_l0[*]": nr.L2(0.1)},
        {"weight_hh_l0[n]": nr.Prox(nr.L1(0.1))},
        nr.GroupLasso(0.1, groups="gates"),
        {"weight_hh_l0[*]": [nr.L2(0.1), nr.Prox(nr.NuclearNorm(0.1))]},
    ],
    ids=["each gate", "one gate", "groups of gates", "matrices"],
)
@pytest.mark.parametrize("index", [(0, 1), (9, 2), (14, 4)])
def test_a_gradient_of_gates_that_is_not_finite(penalty: Any, index: tuple[int, int]) -> None:
    """The index is that in the whole parameter, whatever it is divided into."""
    rule = nr.SGD(0.1)
    arguments = whole_problem() | {"rule": rule, "penalty": penalty}
    arguments["grads"]["weight_hh_l0"][index] = np.nan
    text = f"grads['weight_hh_l0']: expected finite values, got nan at index {index}"
    assert_refused(arguments, FloatingPointError, text)
    arguments["grads"]["weight_hh_l0"][index] = 0
    arguments["grads"]["bias_hh_l0"][11] = np.inf
    arguments["penalty"] = {"bias_hh_l0[*]": nr.L2(0.1)}
    text = "grads['bias_hh_l0']: expected finite values, got inf at index (11,)"
    assert_refused(arguments, FloatingPointError, text)


HALF = {"float32": "1.7014117331926443e+38", "float64": "8.988465674311579e+307"}


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        (lambda big: {"penalty": nr.L2(big)}, "penalty of 'weight_ih_l0'"),
        (lambda big: {"penalty": {"weight_hy": nr.Prox(nr.L2(big))}}, "penalty of 'weight_hy'"),
        (lambda big: {"penalty": nr.L1(lambda step: big)}, "penalty of 'weight_ih_l0'"),
        (lambda big: {"penalty": nr.ElasticNet(0.1, big)}, "penalty of 'weight_ih_l0'"),
        (
            lambda big: {"penalty": nr.GroupLasso(big, weights=np.ones(1), groups="matrix")},
            "penalty of groups",
        ),
        (lambda big: {"rule": nr.SGD(big)}, "rule"),
    ],
    ids=["L2", "prox", "schedule", "elastic net", "groups", "rule"],
)
@pytest.mark.parametrize("big", [1e300, 2e38])
def test_numbers_that_float32_cannot_hold_twice(change: Any, argument: str, big: float) -> None:
    """They would be infinite, and NaN times a weight of 0."""
    arguments = whole_problem() | change(big)
    text = f"{argument}: expected numbers of at most {HALF['float32']} for float32, got {big}"
    assert_refused(arguments, ValueError, text)
    params = {"w": np.zeros(3)}  # in float64 there is nothing wrong with them
    nr.update(params, {"w": np.ones(3)}, rule=nr.SGD(0.1), penalty=nr.L2(big))
    np.testing.assert_array_equal(params["w"], -0.1)


def test_the_largest_numbers() -> None:
    for dtype, text in HALF.items():
        params = {"w": np.array([0.0, 1e-30], dtype)}
        grads = {"w": np.zeros(2, dtype)}
        for penalty in (nr.L2(float(text)), nr.Prox(nr.L2(float(text))), nr.L1(float(text))):
            nr.update(params, grads, rule=nr.SGD(1e-9), penalty=penalty)
            assert np.isfinite(params["w"]).all()


def test_what_was_loaded_from_a_file(tmp_path: Path) -> None:
    """A file's own mapping makes its arrays anew at each look: what is written would be lost."""
    params, grads, rule = {"w": np.ones(3)}, {"w": np.ones(3)}, nr.Momentum(0.1)
    state = nr.init_state(rule, params)
    nr.update(params, grads, state, rule=rule)
    np.savez(tmp_path / "params.npz", **params)
    np.savez(tmp_path / "state.npz", step=state["step"], w=state["velocity"]["w"])
    with np.load(tmp_path / "params.npz") as lazy, np.load(tmp_path / "state.npz") as kept:
        with pytest.raises(TypeError, match=r"^params: expected a dict, got NpzFile$"):
            nr.update(lazy, grads, rule=nr.SGD(0.1))
        with pytest.raises(
            TypeError, match=r"^state\['velocity'\]: expected a dict of arrays, got"
        ):
            nr.update(params, grads, {"step": 0, "velocity": kept}, rule=rule)
        again = dict(lazy)
        again_state = {"step": kept["step"], "velocity": {"w": kept["w"]}}
    nr.update(again, grads, again_state, rule=rule)
    nr.update(params, grads, state, rule=rule)
    assert again_state["step"] == 2
    np.testing.assert_array_equal(again["w"], params["w"])


@pytest.mark.parametrize("step", [True, 1.0, np.ones(2, int), np.array(1.5), "1"])
def test_steps_that_are_no_integers(step: Any) -> None:
    text = rf"^state\['step'\]: expected an integer, got {type(step).__name__}$"
    with pytest.raises(TypeError, match=text):
        nr.update({"w": np.ones(1)}, {"w": np.ones(1)}, {"step": step}, rule=nr.SGD(0.1))


LAYOUT = "expected a C-contiguous, aligned array to change in place, got another layout"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (read_only, "expected a writeable array, got a read-only one"),
        (np.asfortranarray, LAYOUT),
        (lambda a: np.repeat(a, 2, axis=1)[:, ::2], LAYOUT),
        (lambda a: a[::-1], LAYOUT),
        (misaligned, LAYOUT),
    ],
    ids=["read-only", "Fortran", "strided", "negative stride", "misaligned"],
)
@pytest.mark.parametrize("where", ["params", "exp_avg", "exp_avg_sq"])
def test_what_changes_in_place_is_never_a_copy(change: Any, complaint: str, where: str) -> None:
    arguments = whole_problem()
    name = "weight_hh_l0"
    if where == "params":
        arguments["params"][name] = change(arguments["params"][name])
        argument = f"params['{name}']"
    else:
        slot = arguments["state"][where]
        slot[name] = change(slot[name])
        argument = f"state, slot {arguments['rule'].slots.index(where)} of '{name}'"
    assert_refused(arguments, ValueError, f"{argument}: {complaint}")


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"v": 9}, "params['v']: {}params['w']"),
        ({"v": 11, "gradient of v": 20}, "grads['v']: {}params['v']"),
        ({"gradient of w": 45}, "params['v']: {}grads['w']"),
        ({"velocity of v": 5}, "state, slot 0 of 'v': {}params['w']"),
        ({"velocity of v": 105}, "state, slot 0 of 'v': {}grads['w']"),
        ({"velocity of v": 205}, "state, slot 0 of 'v': {}state, slot 0 of 'w'"),
    ],
)
def test_arrays_that_overlap(places: dict[str, int], message: str) -> None:
    """Ten floats each, at these places in one memory."""
    usual = {"w": 0, "v": 50, "gradient of w": 100, "gradient of v": 150}
    memory = np.arange(300, dtype=np.float32)
    usual |= {"velocity of w": 200, "velocity of v": 250}
    at = {name: memory[place : place + 10] for name, place in (usual | places).items()}
    arguments = {
        "params": {"w": at["w"], "v": at["v"]},
        "grads": {"w": at["gradient of w"], "v": at["gradient of v"]},
        "state": {"step": 0, "velocity": {n: at[f"velocity of {n}"] for n in ("w", "v")}},
        "rule": nr.Momentum(0.1),
    }
    text = message.format("expected memory of its own, got an overlap with ")
    assert_refused(arguments, ValueError, text)
    np.testing.assert_array_equal(memory, np.arange(300))


def test_neighbours_and_gradients_that_are_one_array_do_not_overlap() -> None:
    memory, gradient = np.zeros(20, np.float32), np.ones(10, np.float32)
    params = {"w": memory[:10], "v": memory[10:]}
    nr.update(params, {"w": gradient, "v": gradient}, rule=nr.SGD(0.5))
    assert memory.tolist() == [-0.5] * 20


@pytest.mark.parametrize("change", [np.asfortranarray, misaligned, lambda a: a[::-1][::-1]])
def test_gradients_may_have_any_layout(change: Any) -> None:
    plain, other = whole_problem(), whole_problem()
    rng = np.random.default_rng(0)
    for name in plain["grads"]:
        plain["grads"][name][...] = rng.standard_normal(plain["grads"][name].shape)
        other["grads"][name] = change(plain["grads"][name])
    assert nr.update(**plain) == nr.update(**other)
    for name, w in plain["params"].items():
        np.testing.assert_array_equal(other["params"][name], w)


def test_biases_are_exempt_unless_named() -> None:
    def moved(penalty: Any) -> set[str]:
        params = {name: np.ones(3) for name in NAMES}
        grads = {name: np.zeros(3) for name in NAMES}
        nr.update(params, grads, rule=nr.SGD(0.1), penalty=penalty)
        return {name for name, w in params.items() if (w != 1).any()}

    weights = {"weight_ih_l0", "weight_hh_l0", "weight_hy"}
    for penalty in (nr.L2(0.1), nr.Prox(nr.L2(0.1)), {"*": nr.L2(0.1)}):
        assert moved(penalty) == weights
    assert moved({"bias*": nr.L1(0.1)}) == set(NAMES) - weights
    assert moved({"weight_hh_*": None, "*_l0": nr.L2(0.1)}) == {"weight_ih_l0"}  # the first counts
    message = f"penalty: expected a pattern that matches one of {list(NAMES)}, got 'weight_xx'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        moved({"weight_xx": nr.L2(0.1)})


def test_gradients_whose_squares_overflow() -> None:
    """In float64 the square of 1e200 is not finite, but the norm is."""
    norm = np.sqrt(3) * 1e200
    params = {"w": np.zeros(3)}
    info = nr.update(params, {"w": np.full(3, 1e200)}, rule=nr.SGD(0.1), clip_norm=1.0)
    np.testing.assert_allclose(params["w"], -0.1 / np.sqrt(3), rtol=1e-14)
    np.testing.assert_allclose([info.grad_norm, info.clip_scale], [norm, 1 / norm], rtol=1e-14)


def test_steps_whose_squares_overflow() -> None:
    """The step is right; the norms of what it moved are infinite, as UpdateInfo says."""
    params = {"w": np.zeros(3)}
    info = nr.update(params, {"w": np.full(3, 1e200)}, rule=nr.SGD(0.1))
    np.testing.assert_allclose(params["w"], -1e199, rtol=1e-14)
    assert info.update_norm == info.param_norm == np.inf


def test_float32_sums_do_not_overflow() -> None:
    """Squares of float32 numbers up to 1e38 fit into the float64 that sums them."""
    params = {"w": np.full(3, 1e30, np.float32)}
    info = nr.update(params, {"w": np.full(3, 1e30, np.float32)}, rule=nr.SGD(0.5))
    norm = np.sqrt(3) * 1e30
    norms = [info.grad_norm, info.update_norm, info.param_norm]
    np.testing.assert_allclose(norms, [norm, 0.5 * norm, 0.5 * norm], rtol=1e-6)


def test_no_parameters_at_all() -> None:
    nothing = nr.results.UpdateInfo(0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert nr.update({}, {}, rule=nr.SGD(0.1)) == nothing


@pytest.mark.parametrize("rule", [nr.SGD(0.1), nr.Momentum(0.1), nr.Adam(), nr.AdamW()], ids=repr)
def test_one_pass_takes_the_same_step(rule: nr.rules.Rule) -> None:
    rng = np.random.default_rng(7)
    params = {"weight": rng.standard_normal(5000).astype(np.float32)}
    grads = {"weight": rng.standard_normal(5000).astype(np.float32)}
    twin = {"weight": params["weight"].copy()}
    state, twin_state = nr.init_state(rule, params), nr.init_state(rule, twin)
    info = nr.update(params, grads, state, rule=rule, penalty=nr.L2(1e-3))
    other = nr.update(twin, grads, twin_state, rule=rule, penalty=nr.L2(1e-3), check_finite=False)
    np.testing.assert_array_equal(params["weight"], twin["weight"])
    assert other.grad_norm == pytest.approx(info.grad_norm, rel=1e-14)  # summed in another order
    assert other.clipped_norm == other.grad_norm
    assert replace(other, grad_norm=info.grad_norm, clipped_norm=info.clipped_norm) == info


def test_one_pass_shows_a_gradient_that_is_not_finite() -> None:
    params = {"weight": np.ones(40, np.float32)}
    grads = {"weight": np.ones(40, np.float32)}
    grads["weight"][3] = np.nan
    info = nr.update(params, grads, rule=nr.SGD(0.5), check_finite=False)
    assert np.isnan(info.grad_norm)
    assert np.isnan(params["weight"][3])
    np.testing.assert_array_equal(np.delete(params["weight"], 3), np.full(39, np.float32(0.5)))


def test_clipping_reads_first_and_refuses() -> None:
    params = {"weight": np.ones(40)}
    grads = {"weight": np.full(40, 1e160)}  # its squares are infinite, its norm is not
    info = nr.update(params, grads, rule=nr.SGD(1.0), clip_norm=1.0, check_finite=False)
    assert info.grad_norm == pytest.approx(np.sqrt(40) * 1e160)
    assert info.update_norm == pytest.approx(1.0)
    before, grads["weight"][7] = params["weight"].copy(), np.inf
    with pytest.raises(FloatingPointError, match="got inf at index"):
        nr.update(params, grads, rule=nr.SGD(1.0), clip_norm=1.0, check_finite=False)
    np.testing.assert_array_equal(params["weight"], before)


def test_check_finite_is_a_flag() -> None:
    params = {"weight": np.ones(4)}
    with pytest.raises(TypeError, match=r"^check_finite: expected True or False, got int$"):
        nr.update(params, {"weight": np.ones(4)}, rule=nr.SGD(0.5), check_finite=1)
    np.testing.assert_array_equal(params["weight"], np.ones(4))


@pytest.mark.parametrize("strength", [1e-5, 1e-4, 1.0, 1e4])
@pytest.mark.parametrize("rule", [nr.SGD(1e-3), nr.AdamW(1e-3)], ids=repr)
def test_a_small_pull_towards_a_centre_is_not_rounded_away(rule: Any, strength: float) -> None:
    """1 - 1 / (1 + a) in float32 is a multiple of 2**-24."""
    w = {"w": np.zeros(1, np.float32)}
    penalty = nr.Prox(nr.L2(strength, center=np.ones(1, np.float32)))
    nr.update(w, {"w": np.zeros(1, np.float32)}, nr.init_state(rule, w), rule=rule, penalty=penalty)
    pull = 2 * 1e-3 * strength
    np.testing.assert_allclose(w["w"], pull / (1 + pull), rtol=3e-7)


def test_weights_of_a_number() -> None:
    w = {"w": np.array(1.0)}
    nr.update(w, {"w": np.array(0.0)}, rule=nr.SGD(0.1), penalty=nr.L1(1.0, weights=np.array(2.0)))
    assert w["w"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    "penalty",
    [nr.L2(0.0), nr.L1(0.0), nr.ElasticNet(1.0, 0.0), nr.GroupLasso(0.0)],
    ids=repr,
)
def test_no_prox_with_step_sizes_beyond_float32(penalty: Any) -> None:
    """Adam's lr / eps, where a weight has never had a gradient."""
    w = {"w": np.array([[1.0, 3.0]], np.float32)}
    rule = nr.Adam(lr=10.0, eps=2.0**-126)
    state = nr.init_state(rule, w)
    g = {"w": np.array([[1.0, 0.0]], np.float32)}
    nr.update(w, g, state, rule=rule, penalty=nr.Prox(penalty))
    expected = [[-9.0, 3.0]] if penalty != nr.ElasticNet(1.0, 0.0) else [[0.0, 0.0]]
    np.testing.assert_allclose(w["w"], expected, atol=1e-4)
