"""Every penalty in the registry against its own value: gradient, prox, projection, errors.

One file, for every test takes its penalties from the registry by the same strategy.
"""

from dataclasses import MISSING, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import derivative, minimize_scalar
from normrnn.penalties import (
    L1,
    L2,
    ElasticNet,
    ElementwisePenalty,
    GroupLasso,
    GroupPenalty,
    MatrixPenalty,
    MaxNorm,
    NonNegative,
    NuclearNorm,
    Penalty,
    Prox,
    SoftOrthogonality,
    SparseGroupLasso,
    SpectralCap,
    SpectralNorm,
    UnitNorm,
    registry,
)
from normrnn.penalties.base import strength_names
from normrnn.penalties.matrix import leading_singular_vectors

REGISTRY = registry()
PENALTIES = sorted(REGISTRY)
ELEMENTWISE = [n for n in PENALTIES if issubclass(REGISTRY[n], ElementwisePenalty)]
CONSTRAINTS = [n for n in PENALTIES if REGISTRY[n].constraint]
WITH_PROX = [n for n in PENALTIES if REGISTRY[n].has_prox and n not in CONSTRAINTS]
STEPS = [0.0, 0.01, 0.5, 2.0]
strengths = st.sampled_from([0.0, 1e-3, 0.1, 1.0, 3.0])
seeds = st.integers(0, 2**32 - 1)


def has(cls: type[Penalty], field: str) -> bool:
    return any(f.name == field for f in fields(cls))


def shapes_of(cls: type[Penalty]) -> list[tuple[int, ...]]:
    if issubclass(cls, MatrixPenalty):
        return [(1, 1), (4, 4), (3, 5), (8, 4)]
    return [(1,), (5,), (3, 4), (2, 3, 4)]


def count_of(groups: str, shape: tuple[int, ...]) -> int:
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    return {"rows": rows, "columns": columns, "matrix": 1}[groups]


def norms(w: np.ndarray, groups: str) -> np.ndarray:
    """Of each row, each column, or all, with the last dimension as columns."""
    axis = {"rows": 1, "columns": 0, "matrix": None}[groups]
    return np.ravel(np.sqrt(np.sum(w.reshape(-1, w.shape[-1]) ** 2, axis=axis)))


def with_singular_values(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A matrix whose singular values are 0.3 and more apart and from 0: no kink is near."""
    u, _, vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    sigma = np.cumsum(rng.uniform(0.3, 0.8, min(shape)))[::-1]
    return (u * sigma) @ vt


@st.composite
def penalties_and_weights(
    draw: st.DrawFn, names: list[str] = PENALTIES
) -> tuple[Penalty, np.ndarray]:
    """Any of these penalties, with and without its arrays, and weights away from its kinks."""
    cls = REGISTRY[draw(st.sampled_from(names))]
    arguments: dict[str, Any] = {name: draw(strengths) for name in strength_names(cls)}
    rng = np.random.default_rng(draw(seeds))
    shape = draw(st.sampled_from(shapes_of(cls)))
    if cls is SpectralNorm:
        arguments["tolerance"] = 1e-10
    if has(cls, "groups"):
        arguments["groups"] = draw(st.sampled_from(["rows", "columns", "matrix"]))
    if has(cls, "center") and draw(st.booleans()):
        arguments["center"] = rng.standard_normal(shape)
    if has(cls, "weights") and draw(st.booleans()):
        count = count_of(arguments["groups"], shape) if has(cls, "groups") else shape
        arguments["weights"] = rng.uniform(0.2, 2, 1 if issubclass(cls, MatrixPenalty) else count)
    if issubclass(cls, MatrixPenalty):
        return cls(**arguments), with_singular_values(rng, shape)
    return cls(**arguments), rng.uniform(0.1, 2, shape) * rng.choice([-1, 1], shape)


def part(penalty: Any, index: tuple[int, ...]) -> Penalty:
    """The penalty of one element alone."""
    arrays = {f: getattr(penalty, f, None) for f in ("center", "weights")}
    return replace(penalty, **{f: a[index].reshape(1) for f, a in arrays.items() if a is not None})


@given(penalties_and_weights(), seeds)
def test_gradient_is_the_derivative_of_value(drawn: tuple, seed: int) -> None:
    penalty, w = drawn
    before = w.copy()
    gradient = penalty.gradient(w)
    assert gradient.shape == w.shape
    np.testing.assert_array_equal(w, before)
    # Steps of 2e-3 at most in any coordinate stay clear of the kinks, at 0 and where singular
    # values meet.
    direction = np.random.default_rng(seed).uniform(-1, 1, w.shape)
    expected = derivative(lambda s: penalty.value(w + s * direction))
    # float64: rounding of the value over the step of 1e-3, some 1e-12. A norm of 0.14 or more is
    # curved: (1e-3 / 0.14)^4 = 3e-9.
    rtol = {ElementwisePenalty: 1e-9, GroupPenalty: 1e-7, MatrixPenalty: 1e-7}
    rtol = next(r for kind, r in rtol.items() if isinstance(penalty, kind))
    np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=rtol, atol=1e-10)


@given(
    penalties_and_weights(WITH_PROX), st.sampled_from(STEPS), st.booleans(), st.booleans(), seeds
)
def test_prox_minimises_its_objective(
    drawn: tuple, step: float, of_each: bool, sparse: bool, seed: int
) -> None:
    """F(u) = R(u) + sum (u - w)^2 / 2h has F(u) >= F(prox) + sum (u - prox)^2 / 2h, R being convex.

    h is one number, or one for each weight where a penalty can do so.
    """
    penalty, w = drawn
    rng = np.random.default_rng(seed)
    if sparse:
        w = w * rng.integers(0, 2, w.shape)
    given_step: Any = step
    if of_each and not isinstance(penalty, MatrixPenalty):
        given_step = rng.choice(STEPS, w.shape)
    h = np.broadcast_to(given_step, w.shape)
    moving = h > 0

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sum((a - b)[moving] ** 2 / h[moving])) / 2

    def objective(u: np.ndarray) -> float:
        return penalty.value(u) + distance(u, w)

    before = w.copy()
    best = penalty.prox(w, given_step)
    np.testing.assert_array_equal(w, before)
    assert best.shape == w.shape
    np.testing.assert_allclose(best[~moving], w[~moving], rtol=0, atol=1e-14)
    for size in (1.0, 0.1, 1e-3):
        other = best + size * moving * rng.standard_normal(w.shape)
        gap = distance(other, best)
        assert objective(other) >= objective(best) + gap - 1e-11 * (1 + objective(other))


@given(penalties_and_weights(ELEMENTWISE), seeds)
def test_prox_of_each_coordinate_with_its_own_step(drawn: tuple, seed: int) -> None:
    """Against a search for the minimum in one dimension."""
    penalty, w = drawn
    steps = np.random.default_rng(seed).choice(STEPS, w.shape)
    moved = penalty.prox(w, steps)
    for index in np.ndindex(w.shape):
        alone, x, step = part(penalty, index), w[index], steps[index]
        np.testing.assert_allclose(moved[index], alone.prox(np.array([x]), step)[0], rtol=1e-15)
        if penalty.constraint:
            continue
        found = minimize_scalar(
            lambda u, p=alone, x=x, s=step: s * p.value(np.array([u])) + (u - x) ** 2 / 2, -6, 6
        )
        # Flat to rounding within sqrt(2e-16) of a minimum.
        assert abs(moved[index] - found) < 1e-6


def assert_kept(penalty: Any, u: np.ndarray) -> None:
    """Whether the constraint holds, by its definition."""
    # Rounding of a norm of at most 30 numbers, and of a product of singular vectors.
    slack = 1e-14
    if isinstance(penalty, NonNegative):
        assert (u >= 0).all()
    elif isinstance(penalty, SpectralCap):
        bound = penalty.bound * (1.0 if penalty.weights is None else penalty.weights[0])
        assert np.linalg.svd(u, compute_uv=False).max() <= bound + slack
    elif isinstance(penalty, MaxNorm):
        factor = 1.0 if penalty.weights is None else penalty.weights
        assert (norms(u, penalty.groups) <= penalty.bound * factor + slack).all()
    elif isinstance(penalty, UnitNorm):
        factor = 1.0 if penalty.weights is None else penalty.weights
        size = norms(u, penalty.groups)
        np.testing.assert_allclose(size, np.where(size == 0, 0, factor), rtol=1e-14)
    else:
        raise AssertionError(f"say what {type(penalty).__name__} means")


@given(penalties_and_weights(CONSTRAINTS), st.sampled_from(STEPS), st.booleans(), seeds)
def test_constraints_are_projections(drawn: tuple, step: float, sparse: bool, seed: int) -> None:
    """The nearest point that keeps the constraint, whatever the step; a point that does stays."""
    penalty, w = drawn
    rng = np.random.default_rng(seed)
    if sparse:
        w = w * rng.integers(0, 2, w.shape)
    best = penalty.prox(w, step)
    assert_kept(penalty, best)
    np.testing.assert_array_equal(best, penalty.prox(w, np.full(w.shape, 2 * step)))
    np.testing.assert_allclose(penalty.prox(best, step), best, rtol=0, atol=1e-14)
    assert penalty.value(w) == 0.0
    assert not penalty.gradient(w).any()
    nearest = np.sum((best - w) ** 2)
    for size in (2.0, 0.3, 1e-2):
        other = penalty.prox(best + size * rng.standard_normal(w.shape), step)
        assert_kept(penalty, other)
        # A convex set lies beyond the plane through its nearest point; unit spheres are not convex,
        # and points that have left the origin are no rivals of one that must stay there.
        if isinstance(penalty, UnitNorm):
            alive = np.broadcast_to(best != 0, w.shape)
            assert nearest <= np.sum(((other - w) * alive) ** 2) + 1e-13
        else:
            assert np.sum((other - best) * (w - best)) <= 1e-12


@given(penalties_and_weights())
def test_both_precisions(drawn: tuple) -> None:
    """float32 gives float32, which is what float64 gives to rounding."""
    penalty, w = drawn
    narrow = w.astype(np.float32)
    wide = narrow.astype(np.float64)
    in_float32 = penalty
    if getattr(penalty, "center", None) is not None:
        center = penalty.center.astype(np.float32)
        in_float32 = replace(penalty, center=center)
        penalty = replace(penalty, center=center.astype(np.float64))
    if isinstance(getattr(penalty, "weights", None), np.ndarray):
        in_float32 = replace(in_float32, weights=penalty.weights.astype(np.float32))
        penalty = replace(penalty, weights=in_float32.weights.astype(np.float64))
    value = in_float32.value(narrow)
    assert type(value) is float
    # A few roundings of 6e-8 each, and some more for singular values of a matrix of norm 5.
    np.testing.assert_allclose(value, penalty.value(wide), rtol=2e-6, atol=1e-6)
    steps: list[Any] = [] if not penalty.has_prox else [0.1, np.float32(0.1)]
    if penalty.has_prox and (penalty.constraint or not isinstance(penalty, MatrixPenalty)):
        steps.append(np.full(w.shape, 0.1, np.float32))
    results = [(in_float32.gradient(narrow), penalty.gradient(wide))]
    results += [
        (in_float32.prox(narrow, step), penalty.prox(wide, np.asarray(step, np.float64)))
        for step in steps
    ]
    for actual, expected in results:
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * (1 + abs(expected).max()))


@pytest.mark.parametrize("name", PENALTIES)
def test_a_kink_has_the_least_subgradient(name: str) -> None:
    """Where all weights are 0 nothing pulls; UnitNorm leaves a zero group where it is."""
    cls = REGISTRY[name]
    zero = np.zeros(shapes_of(cls)[-1])
    penalty = cls(**dict.fromkeys(strength_names(cls), 1.0))
    assert not penalty.gradient(zero).any()
    if penalty.has_prox:
        assert not penalty.prox(zero, 0.5).any()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_scalars_are_the_strengths_in_order(name: str) -> None:
    cls = REGISTRY[name]
    names = strength_names(cls)
    values = [0.5 + i for i in range(len(names))]
    penalty = cls(**dict(zip(names, values, strict=True)))
    assert penalty.scalars() == tuple(values)
    assert isinstance(penalty.kernel, str)
    assert penalty.center_for("weight_hh_l0", np.ones((3, 3))) is None
    assert penalty.weights_for("weight_hh_l0", np.ones((3, 3))) is None


def test_kernels() -> None:
    penalties = [L2(1.0), L2(1.0, center=np.zeros(2)), L1(1.0), ElasticNet(1.0, 1.0), NonNegative()]
    assert [p.kernel for p in penalties] == ["l2", "l2", "l1", "elastic_net", "non_negative"]
    groups = [GroupLasso(1.0), SparseGroupLasso(1.0, 1.0), MaxNorm(1.0), UnitNorm()]
    assert [p.kernel for p in groups] == ["group_lasso", "group_lasso", "max_norm", "unit_norm"]


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan"), -1])
def test_strengths_must_be_finite_and_not_negative(name: str, value: float) -> None:
    cls = REGISTRY[name]
    for wrong in strength_names(cls):
        arguments = {**dict.fromkeys(strength_names(cls), 1.0), wrong: value}
        with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole text is compared below)
            cls(**arguments)
        assert str(error.value) == f"{wrong}: expected a finite number >= 0, got {float(value)}"


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("value", ["1", None, True, np.ones(1)])
def test_strengths_must_be_numbers(name: str, value: object) -> None:
    cls = REGISTRY[name]
    for wrong in strength_names(cls):
        arguments = {**dict.fromkeys(strength_names(cls), 1.0), wrong: value}
        with pytest.raises(TypeError) as error:
            cls(**arguments)
        kind = type(value).__name__
        assert str(error.value) == f"{wrong}: expected a finite number >= 0, got {kind}"


@pytest.mark.parametrize("name", PENALTIES)
def test_numbers_of_any_kind_become_floats(name: str) -> None:
    cls = REGISTRY[name]
    for one in (1, np.float32(1), np.int64(1)):
        penalty = cls(**dict.fromkeys(strength_names(cls), one))
        assert penalty == cls(**dict.fromkeys(strength_names(cls), 1.0))
        assert all(type(getattr(penalty, name)) is float for name in strength_names(cls))


@pytest.mark.parametrize("name", PENALTIES)
def test_strengths_may_be_functions_of_the_step(name: str) -> None:
    cls = REGISTRY[name]
    names = strength_names(cls)
    w = with_singular_values(np.random.default_rng(0), (4, 4))
    scheduled = cls(**dict.fromkeys(names, lambda step: 0.5 / step))
    assert scheduled.at(2) == cls(**dict.fromkeys(names, 0.25))
    for wrong in names:
        arguments = {**dict.fromkeys(names, 1.0), wrong: lambda step: 1.0 - step}
        with pytest.raises(ValueError, match=f"^{wrong}: expected a number \\(see at\\), got a fu"):
            cls(**arguments).prox(w, 0.1) if cls.has_prox else cls(**arguments).gradient(w)
        text = rf"^{wrong} at step 3: expected a finite number >= 0, got -2\.0$"
        with pytest.raises(ValueError, match=text):
            cls(**arguments).at(3)


def test_every_field_that_is_no_strength_has_a_default() -> None:
    """The tests above and a mapping from patterns rely on it."""
    for cls in REGISTRY.values():
        optional = [f for f in fields(cls) if f.name not in strength_names(cls)]
        assert all(f.default is not MISSING or f.default_factory is not MISSING for f in optional)


def test_soft_threshold_makes_exact_zeros() -> None:
    w = np.array([-2.0, -0.5, 0.0, 0.5, 2.0])
    assert L1(1.0).prox(w, 1.0).tolist() == [-1.0, 0.0, 0.0, 0.0, 1.0]
    assert L1(1.0).gradient(w).tolist() == [-1.0, -1.0, 0.0, 1.0, 1.0]


def test_group_lasso_makes_whole_groups_zero() -> None:
    w = np.array([[3.0, 0.1], [4.0, 0.1]])
    # sqrt(p) = sqrt(2): a threshold of 1 takes the second column, and a fifth of the first
    moved = GroupLasso(1.0, groups="columns").prox(w, np.sqrt(0.5))
    np.testing.assert_allclose(moved, [[2.4, 0.0], [3.2, 0.0]], rtol=1e-15)
    assert (moved[:, 1] == 0).all()
    assert (GroupLasso(9.0, groups="matrix").prox(w, np.full((2, 2), 9.0)) == 0).all()


def test_nuclear_norm_against_singular_values() -> None:
    rng = np.random.default_rng(4)
    w = with_singular_values(rng, (7, 5))
    u, sigma, vt = np.linalg.svd(w, full_matrices=False)
    penalty = NuclearNorm(0.5)
    assert penalty.value(w) == pytest.approx(0.5 * sigma.sum(), rel=1e-14)
    np.testing.assert_allclose(penalty.gradient(w), 0.5 * u @ vt, atol=1e-13)
    step = 2 * (sigma[2] + sigma[3]) / 2  # 0.5 * step lies between the third and the fourth
    left = np.linalg.svd(penalty.prox(w, step), compute_uv=False)
    np.testing.assert_allclose(left, np.maximum(sigma - 0.5 * step, 0), atol=1e-13)
    assert np.linalg.matrix_rank(penalty.prox(w, step)) == 3
    # The least subgradient of a matrix of lower rank leaves out the vectors of what is zero.
    low = (u[:, :2] * sigma[:2]) @ vt[:2]
    np.testing.assert_allclose(penalty.gradient(low), 0.5 * u[:, :2] @ vt[:2], atol=1e-13)
    with pytest.raises(
        ValueError, match=r"^step: expected one number for NuclearNorm, got an array$"
    ):
        penalty.prox(w, np.ones(w.shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 5), (12, 4), (3, 9), (1, 1)])
def test_spectral_norm_against_a_decomposition(shape: tuple[int, int], dtype: str) -> None:
    w = with_singular_values(np.random.default_rng(5), shape).astype(dtype)
    u, sigma, vt = np.linalg.svd(w.astype(np.float64))
    expected = 0.5 * sigma[0] * np.outer(u[:, 0], vt[0])
    rounding = {"float32": 1e-6, "float64": 1e-14}[dtype]
    # Neighbouring singular values are a tenth of the largest apart, or more: a vector is off by ten
    # times the tolerance at most, and the value by ten times its square.
    for tolerance in (1e-2, 1e-4, 1e-8):
        penalty = SpectralNorm(0.5, tolerance=tolerance)
        value, gradient = penalty.value_and_gradient(w)
        assert gradient.dtype == dtype
        assert value == pytest.approx(0.25 * sigma[0] ** 2, rel=10 * tolerance**2 + rounding)
        off = 10 * (tolerance + rounding)
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=off * sigma[0])
        assert penalty.value(w) == pytest.approx(0.25 * sigma[0] ** 2, rel=rounding)
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(
            ValueError, match=f"^tolerance: expected a finite number > 0, got {bad}$"
        ):
            SpectralNorm(0.5, tolerance=bad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_singular_vectors_of_a_large_random_matrix(dtype: str) -> None:
    """Its first singular values are half a per cent apart; all are equal if it is orthogonal."""
    rng = np.random.default_rng(8)
    w = rng.standard_normal((600, 300)).astype(dtype)
    exact = np.linalg.svd(w.astype(np.float64), compute_uv=False)
    assert exact[1] > 0.98 * exact[0]
    sigma, u, v = leading_singular_vectors(w, most=200)  # some 60 are needed
    assert sigma == pytest.approx(exact[0], rel=2e-7 if dtype == "float32" else 1e-10)
    for one in (u, v):
        assert one.dtype == dtype
        assert np.linalg.norm(one) == pytest.approx(1, rel=1e-5)
    # float32 products of 300 terms are off by some 1e-6 of the norm, besides the tolerance of 1e-6
    np.testing.assert_allclose(w.T @ u, sigma * v, rtol=0, atol=3e-6 * sigma)
    q = np.linalg.qr(rng.standard_normal((40, 40)))[0].astype(dtype)
    sigma, u, v = leading_singular_vectors(q, most=1)
    assert sigma == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(q @ v, u, atol=1e-6)


def test_iteration_starts_where_it_ended() -> None:
    rng = np.random.default_rng(6)
    w = with_singular_values(rng, (30, 30))
    memory: dict[str, np.ndarray] = {}
    leading_singular_vectors(w, memory)
    kept = memory["right"].copy()
    assert np.linalg.norm(kept) == pytest.approx(1)
    near = w + 1e-6 * rng.standard_normal(w.shape)
    exact = np.linalg.svd(near, compute_uv=False)[0]
    # A product each way is nearly enough from there, and far from enough from anywhere else.
    cold, _, _ = leading_singular_vectors(near, most=1)
    assert cold < 0.9 * exact
    warm, _, _ = leading_singular_vectors(near, memory, most=1)
    assert warm == pytest.approx(exact, rel=1e-3)
    # Another direction that has become the larger one is found, though the old vector is still
    # singular and has no part in it.
    memory = {}
    assert leading_singular_vectors(np.diag([1.0, 0.9, 0.1]), memory)[0] == pytest.approx(1)
    memory["right"] = np.eye(3)[0]
    sigma, _, v = leading_singular_vectors(np.diag([1.0, 1.05, 0.1]), memory)
    assert sigma == pytest.approx(1.05)
    assert abs(v[1]) == pytest.approx(1)
    for other in ({"right": np.ones(3)}, {"right": np.zeros(30)}):  # of another matrix, or none
        sigma, u, v = leading_singular_vectors(w, other)
        np.testing.assert_allclose(w @ v, sigma * u, atol=1e-5)
        assert other["right"].shape == (30,)
    assert leading_singular_vectors(np.zeros((3, 2)))[0] == 0.0


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_a_cap_of_any_size(scale: float) -> None:
    w = scale * np.diag([3.0, 0.5])
    capped = SpectralCap(2 * scale).prox(w, step=0.1)
    np.testing.assert_allclose(capped, scale * np.diag([2.0, 0.5]), rtol=1e-12)
    np.testing.assert_array_equal(SpectralCap(4 * scale).prox(w, step=0.1), w)


@pytest.mark.parametrize("step", [0.0, 0.01, 0.3, 1.0, 30.0])
def test_prox_of_the_spectral_norm(step: float) -> None:
    """Against a search: the largest singular values meet at a tau, and no other tau is better."""
    rng = np.random.default_rng(9)
    w = with_singular_values(rng, (7, 5))
    sigma = np.linalg.svd(w, compute_uv=False)
    penalty = SpectralNorm(0.8, weights=np.array([2.5]))

    def objective(tau: float) -> float:
        return step * 0.8 * 2.5 * tau**2 / 2 + np.sum(np.maximum(sigma - tau, 0) ** 2) / 2

    tau = minimize_scalar(objective, 0, sigma[0])
    moved = penalty.prox(w, step)
    found = np.linalg.svd(moved, compute_uv=False)
    # Flat to rounding within sqrt(2e-16) of a minimum, and more where it is flatter.
    np.testing.assert_allclose(found, np.minimum(sigma, tau), rtol=0, atol=1e-6)
    # What is cut off is what R pulls with, which tau says to all digits.
    assert np.sum(sigma - found) == pytest.approx(2.0 * step * found[0], rel=1e-12, abs=1e-12)
    assert (found[0] < sigma[0] - 1e-3) == (step > 0)
    _, size = penalty.prox_and_size(w, step)
    assert 0.8 * 2.5 * size == pytest.approx(penalty.value(moved), rel=1e-12)
    assert not penalty.prox(np.zeros((3, 2)), step).any()
    with pytest.raises(
        ValueError, match=r"^step: expected one number for SpectralNorm, got an array$"
    ):
        penalty.prox(w, np.full(w.shape, step))


def test_a_cap_decomposes_only_what_exceeds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Frobenius norm is nearly always above the bound; sigma_1 is what counts."""
    rng = np.random.default_rng(10)
    decompose, calls = np.linalg.svd, []

    def counting(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return decompose(*arguments, **options)

    for dtype, near in (("float32", 1e-5), ("float64", 1e-10)):
        for shape in ((30, 20), (20, 30), (25, 25)):
            w = rng.standard_normal(shape)
            w = (w / decompose(w, compute_uv=False)[0]).astype(dtype)
            assert np.linalg.norm(w) > 2
            monkeypatch.setattr(np.linalg, "svd", counting)
            for bound, decomposed in ((1 + near, 0), (1 - near, 1), (0.5, 1), (0.0, 1), (9.0, 0)):
                calls.clear()
                capped = SpectralCap(bound).prox(w, 0.1)
                assert len(calls) == decomposed
                assert (capped == w).all() == (not decomposed)
            monkeypatch.setattr(np.linalg, "svd", decompose)


def test_soft_orthogonality_is_zero_for_orthonormal_columns() -> None:
    q = np.linalg.qr(np.random.default_rng(7).standard_normal((6, 4)))[0]
    assert SoftOrthogonality(1.0).value(q) < 1e-28
    assert SoftOrthogonality(0.5).value(2 * np.eye(3)) == 0.5 * 3 * 9.0


@pytest.mark.parametrize("name", [n for n in PENALTIES if issubclass(REGISTRY[n], MatrixPenalty)])
def test_the_weight_of_a_matrix(name: str) -> None:
    cls = REGISTRY[name]
    (strength,) = strength_names(cls)
    w = with_singular_values(np.random.default_rng(11), (5, 4))
    weighted = cls(**{strength: 0.5}, weights=np.array([3.0]))
    plain = cls(**{strength: 1.5})
    assert weighted.value(w) == plain.value(w)
    np.testing.assert_array_equal(weighted.gradient(w), plain.gradient(w))
    if plain.has_prox:
        np.testing.assert_array_equal(weighted.prox(w, 0.1), plain.prox(w, 0.1))
    text = r"^weights: expected one for a matrix, shape \(1,\), got \(2,\)$"
    two = cls(**{strength: 0.5}, weights=np.ones(2))
    with pytest.raises(ValueError, match=text):
        two.prox(w, 0.1) if plain.constraint else two.gradient(w)


@pytest.mark.parametrize("name", sorted(set(PENALTIES) - set(WITH_PROX) - set(CONSTRAINTS)))
def test_a_penalty_without_a_prox(name: str) -> None:
    penalty = REGISTRY[name](1.0)
    message = f"^penalty: expected one with a proximal step, got {name}$"
    with pytest.raises(ValueError, match=message):
        Prox(penalty)
    with pytest.raises(ValueError, match=message):
        penalty.prox(np.eye(2), 0.1)


@pytest.mark.parametrize("name", [n for n in PENALTIES if issubclass(REGISTRY[n], GroupPenalty)])
def test_groups_are_checked(name: str) -> None:
    cls = REGISTRY[name]
    one = dict.fromkeys(strength_names(cls), 1.0)
    kinds = "'rows', 'columns', 'matrix', 'gates', 'outgoing'"
    with pytest.raises(ValueError, match=f"^groups: expected one of {kinds}, got 'row'$"):
        cls(**one, groups="row")
    for groups in ("gates", "outgoing"):
        text = f"^groups: expected 'rows', 'columns', 'matrix' for one array .*, got '{groups}'$"
        with pytest.raises(ValueError, match=text):
            cls(**one, groups=groups).value(np.eye(3))
    text = r"^weights: expected one for each of 3 groups, shape \(3,\), got \(2,\)$"
    with pytest.raises(ValueError, match=text):
        cls(**one, weights=np.ones(2)).prox(np.eye(3), 0.1)
    for heads, error, text in (
        ("weight_out", TypeError, "heads: expected a sequence of names, got str"),
        ([], ValueError, "heads: expected at least one name, got none"),
        ([1], TypeError, "heads: expected names, got int"),
        (
            ["weight_hh_l0"],
            ValueError,
            "heads: expected matrices that read the output, got 'weight_hh_l0'",
        ),
    ):
        with pytest.raises(error, match=f"^{text}$"):
            cls(**one, groups="outgoing", heads=heads)
    text = r"^heads: expected none beside groups='rows', got \('weight_out',\)$"
    with pytest.raises(ValueError, match=text):
        cls(**one, heads=["weight_out"])
    assert cls(**one, groups="outgoing", heads=["a", "b", "a"]).heads == ("a", "b")


def test_a_centre_is_finite() -> None:
    with pytest.raises(
        ValueError, match=r"^center: expected finite numbers, got nan at index \(0, 1\)$"
    ):
        L2(0.1, center=np.array([[-1.0, np.nan]]))


@pytest.mark.parametrize("name", [n for n in PENALTIES if has(REGISTRY[n], "weights")])
def test_weights_are_factors(name: str) -> None:
    cls = REGISTRY[name]
    one = dict.fromkeys(strength_names(cls), 1.0)
    least = "> 0" if name == "UnitNorm" else ">= 0"
    for bad in (-1.0, np.nan, np.inf, *([0.0] if name == "UnitNorm" else [])):
        text = rf"^weights: expected finite numbers {least}, got {bad} at index \(1,\)$"
        with pytest.raises(ValueError, match=text):
            cls(**one, weights=np.array([1.0, bad]))
        text = rf"^weights\[w\]: expected finite numbers {least}, got {bad} at index \(0,\)$"
        with pytest.raises(ValueError, match=text):
            cls(**one, weights={"w": np.array([bad])})
    with pytest.raises(TypeError, match=r"^weights: expected an ndarray, got list$"):
        cls(**one, weights=[1.0])
    with pytest.raises(TypeError, match=r"^weights: expected an array without a mask, got Masked"):
        cls(**one, weights=np.ma.array([1.0]))
    weights = np.ones(3)
    penalty = cls(**one, weights=weights)
    weights[:] = 7.0
    assert penalty.weights.tolist() == [1.0] * 3
    with pytest.raises(ValueError, match="read-only"):
        penalty.weights[0] = 2.0


def test_weights_for() -> None:
    w = np.ones((2, 3), np.float32)
    for cls in (L1, L2, lambda s, **k: ElasticNet(s, s, **k)):
        spread = cls(1.0, weights=np.array([1.0, 2.0, 3.0])).weights_for("w", w)
        assert spread.dtype == np.float32
        assert spread.tolist() == [[1, 2, 3], [1, 2, 3]]
        by_name = cls(1.0, weights={"w": np.full((2, 1), 4.0)})
        assert by_name.weights_for("w", w).tolist() == [[4, 4, 4], [4, 4, 4]]
        with pytest.raises(ValueError, match=r"^weights: expected an array for v, got \['w'\]$"):
            by_name.weights_for("v", w)
        text = r"^weights\[w\]: expected a shape that broadcasts to \(2, 3\), got \(2,\)$"
        with pytest.raises(ValueError, match=text):
            cls(1.0, weights=np.ones(2)).weights_for("w", w)
        factor = 4.0 * (2 if isinstance(by_name, ElasticNet) else 1)
        assert by_name.for_parameter("w").value(w) == 6 * factor


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
        (
            np.ma.array([1.0, 2.0], mask=[1, 0]),
            "^center: expected an array without a mask, got MaskedArray$",
        ),
        (np.array([1j]), "^center: expected real numbers, got dtype complex128$"),
        ({"w": np.array(["a"])}, r"^center\[w\]: expected real numbers, got dtype <U1$"),
    ],
)
def test_center_must_be_an_array(center: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        L2(1.0, center=center)


def test_prox_wraps_a_penalty() -> None:
    with pytest.raises(TypeError, match=r"^penalty: expected a Penalty, got Prox$"):
        Prox(Prox(L1(1.0)))
