"""Every penalty in the registry against its own value: gradient, prox, scalars, errors."""

from dataclasses import MISSING, fields, replace
from typing import get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import derivative, minimize_scalar
from normrnn.penalties import L1, L2, ElasticNet, Penalty, Prox, registry, resolve

PENALTIES = sorted(registry())
strengths = st.sampled_from([0.0, 1e-3, 0.1, 1.0, 3.0])
seeds = st.integers(0, 2**32 - 1)


def strength_names(cls: type[Penalty]) -> list[str]:
    hints = get_type_hints(cls)
    return [f.name for f in fields(cls) if hints[f.name] is float]


def has_center(cls: type[Penalty]) -> bool:
    return any(f.name == "center" for f in fields(cls))


@st.composite
def penalties_and_weights(draw: st.DrawFn) -> tuple[Penalty, np.ndarray]:
    """Any penalty, with or without a centre where it takes one, and weights away from 0."""
    cls = registry()[draw(st.sampled_from(PENALTIES))]
    arguments = {name: draw(strengths) for name in strength_names(cls)}
    rng = np.random.default_rng(draw(seeds))
    shape = draw(st.sampled_from([(1,), (5,), (3, 4)]))
    if has_center(cls) and draw(st.booleans()):
        arguments["center"] = rng.standard_normal(shape)
    weights = rng.uniform(0.1, 2, shape) * rng.choice([-1, 1], shape)
    return cls(**arguments), weights


def part(penalty: Penalty, index: tuple[int, ...]) -> Penalty:
    """The penalty of one element alone."""
    if getattr(penalty, "center", None) is None:
        return penalty
    return replace(penalty, center=penalty.center[index].reshape(1))


@given(penalties_and_weights(), seeds)
def test_gradient_is_the_derivative_of_value(drawn: tuple, seed: int) -> None:
    penalty, w = drawn
    gradient = penalty.gradient(w)
    assert gradient.shape == w.shape
    # Steps of 2e-3 at most in any coordinate stay clear of the kinks at 0.
    direction = np.random.default_rng(seed).uniform(-1, 1, w.shape)
    expected = derivative(lambda s: penalty.value(w + s * direction))
    # float64: rounding of the value over the step of 1e-3, some 1e-12
    np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-9, atol=1e-10)


@given(penalties_and_weights(), st.sampled_from([0.0, 0.01, 0.5, 2.0]), seeds)
def test_prox_minimises_its_objective(drawn: tuple, step: float, seed: int) -> None:
    """F(u) = step R(u) + |u - w|^2 / 2 is 1-strongly convex: F(u) >= F(prox) + |u - prox|^2 / 2."""
    penalty, w = drawn

    def objective(u: np.ndarray) -> float:
        return step * penalty.value(u) + float(np.sum((u - w) ** 2)) / 2

    best = penalty.prox(w, step)
    assert best.shape == w.shape
    rng = np.random.default_rng(seed)
    for size in (1.0, 0.1, 1e-3):
        other = best + size * rng.standard_normal(w.shape)
        gap = np.sum((other - best) ** 2) / 2
        assert objective(other) >= objective(best) + gap - 1e-11 * (1 + objective(other))


@given(penalties_and_weights(), seeds)
def test_prox_of_each_coordinate_with_its_own_step(drawn: tuple, seed: int) -> None:
    """Against a search for the minimum in one dimension."""
    penalty, w = drawn
    steps = np.random.default_rng(seed).choice([0.0, 0.01, 0.5, 2.0], w.shape)
    before = w.copy()
    moved = penalty.prox(w, steps)
    np.testing.assert_array_equal(w, before)
    for index in np.ndindex(w.shape):
        alone, x, step = part(penalty, index), w[index], steps[index]
        np.testing.assert_allclose(moved[index], alone.prox(np.array([x]), step)[0], rtol=1e-15)
        found = minimize_scalar(
            lambda u, p=alone, x=x, s=step: s * p.value(np.array([u])) + (u - x) ** 2 / 2, -6, 6
        )
        # Flat to rounding within sqrt(2e-16) of a minimum.
        assert abs(moved[index] - found) < 1e-6


@given(penalties_and_weights())
def test_dtype_is_kept_and_value_is_a_float(drawn: tuple) -> None:
    penalty, w = drawn
    if getattr(penalty, "center", None) is not None:
        penalty = replace(penalty, center=penalty.center.astype(np.float32))
    w = w.astype(np.float32)
    assert type(penalty.value(w)) is float
    assert penalty.gradient(w).dtype == np.float32
    assert penalty.prox(w, 0.1).dtype == np.float32
    assert penalty.prox(w, np.full_like(w, 0.1)).dtype == np.float32


@pytest.mark.parametrize("name", PENALTIES)
def test_scalars_are_the_float_fields_in_order(name: str) -> None:
    cls = registry()[name]
    names = strength_names(cls)
    values = [0.5 + i for i in range(len(names))]
    penalty = cls(**dict(zip(names, values, strict=True)))
    assert penalty.scalars() == tuple(values)
    assert isinstance(penalty.kernel, str)
    assert penalty.center_for("weight_hh_l0", np.ones((3, 3))) is None


def test_kernels() -> None:
    penalties = [L2(1.0), L2(1.0, center=np.zeros(2)), L1(1.0), ElasticNet(1.0, 1.0)]
    assert [p.kernel for p in penalties] == ["l2", "l2", "l1", "elastic_net"]


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan"), -1])
def test_strengths_must_be_finite_and_not_negative(name: str, value: float) -> None:
    cls = registry()[name]
    for wrong in strength_names(cls):
        arguments = {**dict.fromkeys(strength_names(cls), 1.0), wrong: value}
        with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole text is compared below)
            cls(**arguments)
        assert str(error.value) == f"{wrong}: expected a finite number >= 0, got {float(value)}"


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("value", ["1", None, True, np.ones(1)])
def test_strengths_must_be_numbers(name: str, value: object) -> None:
    cls = registry()[name]
    for wrong in strength_names(cls):
        arguments = {**dict.fromkeys(strength_names(cls), 1.0), wrong: value}
        with pytest.raises(TypeError) as error:
            cls(**arguments)
        kind = type(value).__name__
        assert str(error.value) == f"{wrong}: expected a finite number >= 0, got {kind}"


@pytest.mark.parametrize("name", PENALTIES)
def test_numbers_of_any_kind_become_floats(name: str) -> None:
    cls = registry()[name]
    for one in (1, np.float32(1), np.int64(1)):
        penalty = cls(**dict.fromkeys(strength_names(cls), one))
        assert penalty == cls(**dict.fromkeys(strength_names(cls), 1.0))
        assert {type(s) for s in penalty.scalars()} == {float}


def test_every_field_that_is_no_strength_has_a_default() -> None:
    """The tests above and a mapping from patterns rely on it."""
    for cls in registry().values():
        optional = [f for f in fields(cls) if f.name not in strength_names(cls)]
        assert all(f.default is not MISSING or f.default_factory is not MISSING for f in optional)


def test_soft_threshold_makes_exact_zeros() -> None:
    w = np.array([-2.0, -0.5, 0.0, 0.5, 2.0])
    assert L1(1.0).prox(w, 1.0).tolist() == [-1.0, 0.0, 0.0, 0.0, 1.0]
    assert L1(1.0).gradient(w).tolist() == [-1.0, -1.0, 0.0, 1.0, 1.0]


def test_center_is_a_copy() -> None:
    w = np.ones(3)
    for penalty in (L2(1.0, center=w), L2(1.0, center={"w": w}).for_parameter("w")):
        w[:] = 5.0
        assert penalty.value(w) == 3 * 16.0
        w[:] = 1.0


def test_center_for() -> None:
    w, center = np.ones((2, 2)), np.eye(2)
    np.testing.assert_array_equal(L2(1.0, center=center).center_for("w", w), center)
    by_name = L2(1.0, center={"w": center})
    np.testing.assert_array_equal(by_name.center_for("w", w), center)
    with pytest.raises(ValueError, match=r"^center: expected an array for u, got \['w'\]$"):
        by_name.center_for("u", w)
    with pytest.raises(ValueError, match=r"^center\[w\]: expected shape \(3, 2\), got \(2, 2\)$"):
        by_name.center_for("w", np.ones((3, 2)))
    with pytest.raises(TypeError, match=r"^center\[w\]: expected dtype float32, got float64$"):
        by_name.center_for("w", w.astype(np.float32))
    with pytest.raises(ValueError, match=r"^center: expected one array .*, got a mapping$"):
        by_name.value(w)


@pytest.mark.parametrize(
    ("center", "message"),
    [
        ([1.0], r"^center: expected an ndarray, got list$"),
        ({"w": 1.0}, r"^center\[w\]: expected an ndarray, got float$"),
    ],
)
def test_center_must_be_an_array(center: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        L2(1.0, center=center)


NAMES = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hy", "bias_hy"]
WEIGHTS = [name for name in NAMES if "bias" not in name]


@pytest.mark.parametrize("penalty", [L2(1.0), Prox(L1(1.0))])
def test_one_penalty_is_for_weights_only(penalty: Penalty | Prox) -> None:
    expected = {name: penalty if name in WEIGHTS else None for name in NAMES}
    assert resolve(penalty, NAMES) == expected
    assert resolve(penalty, ["bias_hy"]) == {"bias_hy": None}


def test_no_penalty() -> None:
    assert resolve(None, NAMES) == dict.fromkeys(NAMES)
    assert resolve({}, NAMES) == dict.fromkeys(NAMES)


def test_the_first_pattern_that_matches_counts() -> None:
    a, b, c = L1(1.0), Prox(L2(1.0)), L2(2.0)
    resolved = resolve({"weight_hh_*": a, "weight_hy": None, "*": b, "bias_?h*": c}, NAMES)
    assert resolved == {
        "weight_ih_l0": b,
        "weight_hh_l0": a,
        "bias_ih_l0": c,
        "bias_hh_l0": c,
        "weight_hy": None,
        "bias_hy": None,
    }
    assert list(resolved) == NAMES


@pytest.mark.parametrize("pattern", ["*", "*_hh_*", "b*", "?ias*"])
def test_a_pattern_without_bias_in_it_spares_biases(pattern: str) -> None:
    resolved = resolve({pattern: L1(1.0), "*bias*": L2(1.0)}, [*NAMES, "b_weight", "dias_weight"])
    assert {resolved[name] for name in NAMES if "bias" in name} == {L2(1.0)}


@pytest.mark.parametrize("pattern", ["weigth_*", "", "WEIGHT_*", "*_l1", "b[i]as_hy"])
def test_a_pattern_must_match_something(pattern: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole text is compared below)
        resolve({"weight_*": L1(1.0), pattern: L1(1.0)}, NAMES)
    expected = f"penalty: expected a pattern that matches one of {NAMES}, got {pattern!r}"
    assert str(error.value) == expected


def test_a_pattern_behind_another_has_still_matched() -> None:
    assert resolve({"weight_*": L1(1.0), "weight_hy": L2(1.0)}, NAMES)["weight_hy"] == L1(1.0)


def test_resolve_looks_up_the_center_of_each_parameter() -> None:
    centers = {"weight_hh_l0": np.eye(2), "weight_hy": np.ones((1, 2))}
    for wrap in (lambda p: p, Prox):
        resolved = resolve({"weight_h*": wrap(L2(1.0, center=centers))}, NAMES)
        for name, center in centers.items():
            one = resolved[name]
            bound = one.penalty if isinstance(one, Prox) else one
            np.testing.assert_array_equal(bound.center, center)
    with pytest.raises(ValueError, match=r"^center: expected an array for weight_ih_l0, got \["):
        resolve(L2(1.0, center=centers), NAMES)


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (0.1, r"^penalty: expected a penalty, got float$"),
        (L1, r"^penalty: expected a penalty, got ABCMeta$"),
        ({"weight_*": 0.1}, r"^penalty\['weight_\*'\]: expected a penalty, got float$"),
        ({1: L1(1.0)}, r"^penalty: expected patterns of type str, got int$"),
    ],
)
def test_resolve_wants_penalties(penalty: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        resolve(penalty, NAMES)


def test_prox_wraps_a_penalty() -> None:
    with pytest.raises(TypeError, match=r"^penalty: expected a Penalty, got Prox$"):
        Prox(Prox(L1(1.0)))
