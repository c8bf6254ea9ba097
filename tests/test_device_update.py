"""The update on a GPU, or on a simulated one, against the CPU core."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from devices import Place, each_place, needs_device
from normrnn.results import UpdateInfo

pytestmark = needs_device

# Roundings of three steps with numbers of order 1, and of norms that sum thousands of squares.
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
DTYPES = sorted(TOLERANCE)
RULES = [
    nr.SGD(0.1),
    nr.Momentum(0.1, momentum=0.8, nesterov=True),
    nr.Adam(0.01),
    nr.AdamW(0.01),
]
CENTER = {
    name: np.full_like(w, 0.3) for name, w in nr.init_params("gru", 3, 20, output_size=2).items()
}
PENALTIES: dict[str, Any] = {
    "none": None,
    "l2": nr.L2(0.1),
    "center": nr.L2(0.1, center=CENTER),
    "weights": nr.L1(0.1, weights=np.float32(0.5) * np.ones((1, 1), np.float32)),
    "prox of l1": nr.Prox(nr.L1(0.2)),
    "elastic net": nr.ElasticNet(0.1, 0.05),
    "gate": {"weight_hh_l0[z]": nr.L2(0.3), "weight_hh_l0[r]": nr.Prox(nr.L1(0.1)), "bias_*": None},
    "every gate": {"weight_hh_l0[*]": nr.GroupLasso(0.1, groups="matrix")},
    "rows": nr.GroupLasso(0.1),
    "prox of rows": nr.Prox(nr.GroupLasso(0.3)),
    "prox of columns": nr.Prox(nr.GroupLasso(0.3, groups="columns")),
    "sparse groups": nr.Prox(nr.SparseGroupLasso(0.2, 0.1)),
    "max norm": nr.MaxNorm(0.5),
    "unit norm": nr.UnitNorm(),
    "non-negative": nr.NonNegative(),
    "scheduled": nr.L2(lambda step: 0.1 / step),
    "scheduled around a center": nr.L2(lambda step: 0.1 / step, center=CENTER),
}
CLIPS: list[dict[str, float]] = [{}, {"clip_norm": 0.5}, {"clip_value": 0.3}, {"clip_ratio": 0.1}]


def center_of(penalty: Any, dtype: str) -> Any:
    """The penalty with a centre of the parameters' dtype."""
    if isinstance(penalty, nr.L2) and penalty.center is not None:
        return nr.L2(penalty.strength, center={n: c.astype(dtype) for n, c in CENTER.items()})
    return penalty


def problem(dtype: str) -> dict[str, np.ndarray]:
    return nr.init_params("gru", 3, 20, output_size=2, dtype=dtype)


def gradients(params: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    return {name: rng.standard_normal(w.shape).astype(w.dtype) for name, w in params.items()}


def check(place: Place, dtype: str, rule: Any, penalty: Any, **options: Any) -> None:
    expected = problem(dtype)
    expected_state = nr.init_state(rule, expected)
    params = place.put_all(expected)
    state = nr.init_state(rule, params)
    options |= {"rule": rule, "penalty": center_of(penalty, dtype)}
    for step in range(3):
        grads = gradients(expected, step)
        wanted = nr.update(expected, grads, expected_state, **options)
        there = place.put_all(grads)
        info = nr.update(params, there, state, **options, **place.options)
        assert isinstance(info, UpdateInfo)
        for field in fields(UpdateInfo):
            actual = getattr(info, field.name)
            assert type(actual) is float
            wish = getattr(wanted, field.name)
            assert actual == pytest.approx(wish, rel=TOLERANCE[dtype]), field.name
        for name, w in expected.items():
            close(place.get(params[name]), w, name)
            np.testing.assert_array_equal(place.get(there[name]), grads[name])
    assert state["step"] == expected_state["step"] == 3
    for slot in rule.slots:
        for name, kept in expected_state[slot].items():
            close(place.get(state[slot][name]), kept, f"{slot} of {name}")


def close(actual: np.ndarray, expected: np.ndarray, name: str) -> None:
    assert actual.dtype == expected.dtype
    tolerance = TOLERANCE[str(expected.dtype)]
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance, err_msg=name)


@each_place
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_agrees_with_the_cpu(place: Place, dtype: str, rule: Any, penalty: str) -> None:
    check(place, dtype, rule, PENALTIES[penalty])


@pytest.mark.parametrize("strength", [0.1, lambda step: 0.1 / step])
@pytest.mark.parametrize(("name", "arrays"), [("weight_*", 3), ("weight_hh_l0[z]", 1)])
def test_arrays_of_a_penalty_are_copied_once(
    strength: Any, name: str, arrays: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, grads = (nr.device.to_device(problem("float32")) for _ in "pg")
    penalty = {name: nr.L2(strength, center=center_of(PENALTIES["center"], "float32").center)}
    penalty |= {"bias_hy": nr.L1(strength, weights=np.ones(1, np.float32))}
    copies = []
    real = nr._core.device_from_host
    monkeypatch.setattr(nr._core, "device_from_host", lambda *a: copies.append(a) or real(*a))
    for _ in range(3):
        nr.update(params, grads, rule=nr.SGD(0.1), penalty=penalty)
    assert len(copies) == arrays + 1


@each_place
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("check_finite", [True, False])
def test_clips(place: Place, dtype: str, clip: dict[str, float], check_finite: bool) -> None:
    check(place, dtype, nr.Momentum(0.1), nr.L2(0.1), check_finite=check_finite, **clip)


@each_place
@pytest.mark.parametrize("groups", ["rows", "columns", "matrix"])
@pytest.mark.parametrize(("dtype", "size"), [("float64", 1e200), ("float32", 1e-41)])
def test_norms_too_large_to_be_squared_and_next_to_nothing(
    place: Place, groups: str, dtype: str, size: float
) -> None:
    host = {"w": (size * np.array([[1.0, 2.0, 2.0], [4.0, 4.0, 7.0]])).astype(dtype)}
    grads = {"w": np.full((2, 3), 1e200 if dtype == "float64" else 1.0, dtype)}
    penalties = [nr.MaxNorm(2.0, groups), nr.UnitNorm(groups), nr.GroupLasso(3.0, groups)]
    for penalty in penalties:
        for options in ({}, {"clip_ratio": 0.5}):
            options = {"rule": nr.SGD(0.25), "penalty": penalty, **options}
            params, expected = place.put_all(host), deepcopy(host)
            nr.update(params, place.put_all(grads), **options, **place.options)
            nr.update(expected, grads, **options)
            assert np.isfinite(expected["w"]).all()
            assert (expected["w"] != 0).all()
            np.testing.assert_allclose(
                place.get(params["w"]), expected["w"], rtol=TOLERANCE[dtype], atol=0
            )


@each_place
@pytest.mark.parametrize("penalty", [nr.L2(1e300), nr.Prox(nr.L1(1e300)), nr.GroupLasso(1e300)])
def test_numbers_that_float32_cannot_hold(place: Place, penalty: Any) -> None:
    host = problem("float32")
    params = place.put_all(host)
    with pytest.raises(
        ValueError, match=r"^penalty of .*: expected numbers of at most 1\.70.*e\+38"
    ):
        nr.update(params, params, rule=nr.SGD(0.1), penalty=penalty, **place.options)
    for name, w in host.items():
        np.testing.assert_array_equal(place.get(params[name]), w)


@each_place
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("penalty", [None, {"weight_hh_l0[z]": nr.L2(0.1)}])
def test_a_gradient_that_is_not_finite(place: Place, bad: float, penalty: Any) -> None:
    """Nothing changes; the first look says which one it is."""
    host = problem("float32")
    params = place.put_all(host)
    rule = nr.Momentum(0.1)
    state = nr.init_state(rule, params)
    before = deepcopy(place.get_all(state["velocity"]))
    grads = gradients(host, 0)
    grads["weight_hh_l0"][25, 3] = bad  # of gate z
    grads["bias_hy"][1] = bad

    def update() -> Any:
        return nr.update(
            params, place.put_all(grads), state, rule=rule, penalty=penalty, **place.options
        )

    message = rf"grads\['weight_hh_l0'\]: expected finite values, got {bad} at index \(25, 3\)\Z"
    if place.name == "host":
        with pytest.raises(FloatingPointError, match=message):
            update()
    else:
        info = update()
        for _ in range(2):
            with pytest.raises(FloatingPointError, match=message):
                info.penalty  # noqa: B018
    for name, w in host.items():
        np.testing.assert_array_equal(place.get(params[name]), w)
        np.testing.assert_array_equal(place.get(state["velocity"][name]), before[name])
    assert state["step"] == (0 if place.name == "host" else 1)
    grads["weight_hh_l0"][25, 3] = grads["bias_hy"][1] = 0
    assert np.isfinite(update().grad_norm)


@each_place
def test_without_a_look_it_reaches_its_weight(place: Place) -> None:
    params, grads = place.put_all({"w": np.ones(3)}), {"w": np.array([1.0, np.nan, 1.0])}
    info = nr.update(
        params, place.put_all(grads), rule=nr.SGD(0.5), check_finite=False, **place.options
    )
    assert np.isnan(info.grad_norm)
    np.testing.assert_array_equal(place.get(params["w"]), [0.5, np.nan, 0.5])


@each_place
def test_state_is_of_the_library(place: Place) -> None:
    params = place.put_all(problem("float64"))
    state = nr.init_state(nr.Adam(), params)
    kind = nr.device.DeviceArray if place.name == "shared" else type(params["bias_hy"])
    for name, m in state["exp_avg"].items():
        assert type(m) is kind
        assert not place.get(m).any()
        assert place.get(m).shape == place.get(params[name]).shape


@each_place
def test_the_same_bits_again(place: Place) -> None:
    def run() -> list[bytes]:
        params = place.put_all(problem("float32"))
        state = nr.init_state(nr.Adam(), params)
        grads = place.put_all(gradients(problem("float32"), 0))
        info = nr.update(params, grads, state, rule=nr.Adam(), clip_norm=1.0, **place.options)
        arrays = [place.get(w).tobytes() for w in params.values()]
        return [*arrays, repr([getattr(info, f.name) for f in fields(UpdateInfo)]).encode()]

    assert run() == run()


@each_place
def test_weights_of_a_number(place: Place) -> None:
    w, g = ({"w": place.put(np.array(a, np.float32))} for a in (1.0, 0.0))
    penalty = nr.L1(1.0, weights=np.array(2.0, np.float32))
    nr.update(w, g, rule=nr.SGD(0.1), penalty=penalty, **place.options)
    assert place.get(w["w"]) == pytest.approx(0.8)
