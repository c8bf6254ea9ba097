"""Penalties and constraints of groups in whole networks: core and reference.

One file, for all kinds of groups take their penalties and networks from the same few draws.
"""

from copy import deepcopy
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import normrnn as nr
from agreement import assert_agrees, assert_info_agrees
from networks import (
    DTYPES,
    RULES,
    assert_unchanged,
    columns_of,
    gradients_of,
    moved,
    network,
    of_kind,
    scaled_group,
    units_of,
)
from normrnn import reference
from normrnn.penalties import GroupPenalty, registry
from normrnn.penalties.base import strength_names
from runs import in_float64

KINDS = sorted(name for name, cls in registry().items() if issubclass(cls, GroupPenalty))
numbers = st.floats(0.01, 0.9)


def drawn_group(draw: st.DrawFn, groups: list[str], kinds: list[str] = KINDS) -> Any:
    cls = registry()[draw(st.sampled_from(kinds))]
    # Small groups of norm 0.001, say, would let UnitNorm show a rounding a thousandfold.
    groups = [g for g in groups if g in ("matrix", "gates", "outgoing") or cls is not nr.UnitNorm]
    strengths = {}
    for name in strength_names(cls):
        number = draw(numbers)
        strengths[name] = (lambda step, s=number: s / step) if draw(st.booleans()) else number
    penalty = cls(**strengths, groups=draw(st.sampled_from(groups)))
    wrap = not penalty.constraint and draw(st.booleans())
    return nr.Prox(penalty) if wrap else penalty


def drawn_list(draw: st.DrawFn, groups: list[str], *, matrices: bool) -> Any:
    """Up to one penalty of each weight, one of groups, and some of whole matrices."""
    terms = []
    shape = draw(st.sampled_from(["group", "weight", "both", "both"]))
    if shape != "weight":
        terms.append(drawn_group(draw, groups))
    simple = shape == "both" and not isinstance(terms[0], nr.Prox) and not terms[0].constraint
    if shape != "group" and not any(is_sparse(term) for term in terms):
        one = draw(st.sampled_from([nr.L2(0.3), nr.L1(0.2), nr.ElasticNet(0.1, 0.2)]))
        proxes = [nr.Prox(one), nr.NonNegative()] if simple or shape == "weight" else []
        terms.append(draw(st.sampled_from([one, *proxes])))
    divides = any(getattr(getattr(t, "penalty", t), "groups", "") == "gates" for t in terms)
    if matrices and not divides and draw(st.booleans()):
        terms.append(nr.SoftOrthogonality(draw(numbers) / 10))
    return terms[0] if len(terms) == 1 and draw(st.booleans()) else draw(st.permutations(terms))


def is_sparse(term: Any) -> bool:
    return isinstance(getattr(term, "penalty", term), nr.SparseGroupLasso)


@st.composite
def drawn_penalties(draw: st.DrawFn, cell: str) -> Any:
    kind = draw(st.sampled_from(["outgoing", "one", "mapping", "mapping", "mapping"]))
    if kind == "outgoing":
        penalty = drawn_group(draw, ["outgoing"])
        with_others = [penalty, nr.SoftOrthogonality(0.05)]
        if not is_sparse(penalty):
            with_others.append(nr.L2(0.2))
        mapping = {"*": with_others, "bias_*": nr.L2(0.1)}
        return draw(st.sampled_from([penalty, with_others, mapping]))
    axes = ["rows", "columns", "matrix", "gates"]
    if kind == "one":
        return drawn_list(draw, axes, matrices=True)
    gate = {"lstm": ["[f]", "[*]", "[o]"], "gru": ["[z]", "[*]", "[n]"], "rnn_tanh": []}[cell]
    patterns = ["weight_hh_l0", "weight_*", "weight_hy", "*_l0*"]
    patterns += [p + g for p in ("weight_hh_l0", "weight_ih_*", "*") for g in gate]
    chosen = draw(st.lists(st.sampled_from(patterns), unique=True, min_size=1, max_size=3))
    mapping = {pattern: drawn_list(draw, axes, matrices=True) for pattern in chosen}
    if draw(st.booleans()):
        mapping["bias_*"] = drawn_list(draw, ["rows", "columns", "matrix"], matrices=False)
    return mapping


@settings(max_examples=150)
@given(
    data=st.data(),
    cell=st.sampled_from(["rnn_tanh", "gru", "lstm"]),
    hidden=st.sampled_from([3, 8, 17, 33]),
    layers=st.sampled_from([1, 1, 2]),
    bidirectional=st.booleans(),
    rule=st.sampled_from(RULES),
    clip=st.sampled_from([{}, {"clip_norm": 0.5}, {"clip_value": 0.3}, {"clip_ratio": 0.2}]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**32 - 1),
)
def test_agrees_with_the_reference(
    data: st.DataObject,
    cell: str,
    hidden: int,
    layers: int,
    bidirectional: bool,
    rule: nr.rules.Rule,
    clip: dict[str, float],
    dtype: str,
    seed: int,
) -> None:
    params = network(cell, hidden, layers, bidirectional, dtype, seed)
    penalty = data.draw(drawn_penalties(cell), "penalty")
    state = nr.init_state(rule, params)
    for step in range(3):
        expected, expected_state = in_float64(params), in_float64(deepcopy(state))
        grads = gradients_of(params, seed + step)
        info = nr.update(params, grads, state, rule=rule, penalty=penalty, **clip)
        wanted = reference.update(
            expected, in_float64(grads), expected_state, rule=rule, penalty=penalty, **clip
        )
        # Adam divides by the gradient's own size: where it is small, one of a few thousand in a few
        # hundred, its rounding (of products in BLAS too) is that much larger in the step.
        assert_agrees(params, expected, dtype, 50 if isinstance(rule, nr.Adam) else 1)
        for slot in rule.slots:
            assert_agrees(state[slot], expected_state[slot], dtype)
        assert_info_agrees(info, wanted, dtype)


# A penalty of every kind that the core knows, each as a gradient and after the step.
MANY = {
    "weight_hh_l0[f]": [nr.L2(0.1), nr.Prox(nr.GroupLasso(0.05, groups="columns"))],
    "weight_hh_l0[*]": nr.Prox(nr.SparseGroupLasso(0.01, 0.02, groups="gates")),
    "weight_ih_l0": [nr.L1(0.01), nr.MaxNorm(1.0)],
    "weight_ih_l0_reverse": nr.SparseGroupLasso(0.01, 0.02, groups="columns"),
    "weight_hh_l0_reverse": nr.Prox(nr.GroupLasso(0.05)),
    "weight_*_l1": nr.Prox(nr.GroupLasso(0.05, groups="columns")),
    "weight_hh_l1_reverse": nr.UnitNorm(groups="matrix"),
    "weight_hy": nr.NonNegative(),
    "bias_*": nr.Prox(nr.GroupLasso(0.01)),
}


@pytest.mark.parametrize("clip", [{}, {"clip_ratio": 0.1}], ids=["plain", "clip_ratio"])
@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads(dtype: str, rule: Any, clip: dict[str, float]) -> None:
    start = network("lstm", 130, 2, True, dtype, seed=1)
    grads = gradients_of(start, seed=2)
    found = []
    outgoing = {"*": nr.Prox(nr.GroupLasso(0.05, groups="outgoing")), "bias_*": nr.L2(0.1)}
    for threads in (1, 2, 3, 7):
        bits = []
        for penalty in (MANY, outgoing):
            params = deepcopy(start)
            state = nr.init_state(rule, params)
            for _ in range(2):
                info = nr.update(
                    params, grads, state, rule=rule, penalty=penalty, num_threads=threads, **clip
                )
            bits += [w.tobytes() for w in params.values()]
            bits += [state[slot][name].tobytes() for slot in rule.slots for name in params]
            bits.append(info)
        found.append(bits)
    assert all(bits == found[0] for bits in found[1:])


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
@pytest.mark.parametrize("as_prox", [False, True], ids=["gradient", "prox"])
@pytest.mark.parametrize("layers", [1, 2])
def test_outgoing_weights_of_a_unit(implementation: Any, as_prox: bool, layers: int) -> None:
    """Unit by unit, written out: its column of W_hh and of what the layer above reads it by."""
    params = network("gru", 6, layers, True, "float64", seed=3)
    before = deepcopy(params)
    units = units_of(params)
    # A weight for each unit of a layer, those of the reverse direction behind the others.
    weights = np.random.default_rng(4).uniform(0, 3, 12) if layers == 1 else None
    penalty = nr.GroupLasso(0.3, groups="outgoing", weights=weights)
    zero = {name: np.zeros_like(w) for name, w in params.items()}
    info = implementation.update(
        params, zero, rule=nr.SGD(0.5), penalty=nr.Prox(penalty) if as_prox else penalty
    )
    value = 0.0
    for i, unit in enumerate(units):
        group = columns_of(before, unit)
        strength = 0.3 * (np.sqrt(group.size) if weights is None else weights[i])
        norm = np.linalg.norm(group)
        value += strength * norm
        factor = 1 - 0.5 * strength / norm if norm else 1.0
        wanted = (max(factor, 0.0) if as_prox else factor) * group
        np.testing.assert_allclose(columns_of(params, unit), wanted, rtol=0, atol=1e-14)
    assert info.penalty == pytest.approx(value, rel=1e-13)
    for name in params:  # what is no unit's outgoing weight stays
        if name.startswith(("weight_ih_l0", "bias")):
            np.testing.assert_array_equal(params[name], before[name])


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
@pytest.mark.parametrize("kind", ["gradient", "prox", "bound", "norm"])
def test_outgoing_weights_with_heads_of_other_names(implementation: Any, kind: str) -> None:
    params = network("lstm", 5, 2, True, "float64", seed=28)
    rng = np.random.default_rng(29)
    params = {name: w for name, w in params.items() if name not in ("weight_hy", "bias_hy")}
    params |= {"weight_out": rng.uniform(-1, 1, (3, 10)), "head": rng.uniform(-1, 1, (1, 10))}
    heads = ("weight_out", "head")
    penalty = of_kind(kind, groups="outgoing", heads=heads)
    after, value = moved(implementation, params, penalty, 0.2)
    total = 0.0
    for unit in units_of(params, heads):
        group = columns_of(params, unit)
        factor = np.sqrt(group.size) if kind in ("gradient", "prox") else 1.0
        total += 0.3 * factor * np.linalg.norm(group)
        wanted = scaled_group(kind, group, factor, 0.2)
        np.testing.assert_allclose(columns_of(after, unit), wanted, rtol=0, atol=1e-14)
    assert value == pytest.approx(total if kind in ("gradient", "prox") else 0.0, rel=1e-13)
    for name in params:
        if name.startswith(("weight_ih_l0", "bias")):
            np.testing.assert_array_equal(after[name], params[name])


def test_units_of_named_heads_can_be_removed() -> None:
    params = network("gru", 6, 1, False, "float64", seed=30)
    params["weight_out"] = 4 * np.random.default_rng(31).uniform(1, 2, (2, 6))
    del params["weight_hy"], params["bias_hy"]
    heads = ("weight_out",)
    params["weight_out"][:, [1, 4]] = params["weight_hh_l0"][:, [1, 4]] = 1e-3
    zero = {name: np.zeros_like(w) for name, w in params.items()}
    lasso = nr.GroupLasso(0.1, groups="outgoing", heads=heads)
    before = deepcopy(params)
    unnamed = nr.Prox(nr.GroupLasso(10.0, groups="outgoing"))
    text = "^heads: expected names of parameters for groups='outgoing', got 'weight_hy'$"
    with pytest.raises(ValueError, match=text):  # W_hh alone is not what a unit speaks through
        nr.update(params, zero, rule=nr.SGD(0.1), penalty=unnamed)
    assert_unchanged(before, params)
    nr.update(params, zero, rule=nr.SGD(0.1), penalty=nr.Prox(lasso))
    smaller = nr.shrink("gru", params, heads=heads)
    assert smaller.kept.tolist() == [[0, 2, 3, 5]]
    x = np.random.default_rng(32).standard_normal((7, 2, 5))
    outputs = [
        nr.forward("gru", x, {n: w for n, w in one.items() if n not in heads}).y
        @ one["weight_out"].T
        for one in (params, smaller.params)
    ]
    np.testing.assert_allclose(*outputs, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", ["rows", "columns", "matrix", "gates", "outgoing"])
@pytest.mark.parametrize("step", [1, 4])
def test_prox_under_adam_is_optimal_in_its_metric(dtype: str, groups: str, step: int) -> None:
    """For the result u, h strength u / ||u|| = w - u, or u = 0 and ||w / (h strength)|| <= 1.

    h and w are Adam's, from a twin that has no penalty.
    """
    rule = nr.Adam(0.05)
    params = network("lstm", 20, 1, False, dtype, seed=5)
    state = nr.init_state(rule, params)
    strength = 0.4
    if groups != "outgoing":
        params.pop("weight_hy")
        params.pop("bias_hy")
    for i in range(step):
        twin, twin_state = in_float64(params), in_float64(deepcopy(state))
        grads = gradients_of(params, seed=6 + i)
        reference.update(twin, in_float64(grads), twin_state, rule=rule)
        penalty = nr.Prox(nr.GroupLasso(strength, groups=groups))
        nr.update(params, grads, state, rule=rule, penalty=penalty)
    h = {
        name: rule.lr / (np.sqrt(v / (1 - rule.beta2**step)) + rule.eps)
        for name, v in twin_state["exp_avg_sq"].items()
    }
    alive = dead = 0
    for where in groups_within(params, groups):
        w, u, own = (
            np.concatenate([arrays[name][index].ravel() for name, index in where]).astype(float)
            for arrays in (twin, params, h)
        )
        root, full = np.linalg.norm(u), strength * np.sqrt(u.size)
        if root == 0:
            dead += 1
            assert np.sum((w / (full * own)) ** 2) <= 1
        else:
            alive += 1
            # Of numbers of order 1. float64: 1e-14 of roundings, times what is between the step
            # sizes and the root.
            bound = {"float32": 1e-5, "float64": 1e-13}[dtype]
            np.testing.assert_allclose(w - u, full * own * u / root, rtol=0, atol=bound)
    assert alive + dead > 0
    assert alive > 0 or groups in ("matrix", "gates")


def groups_within(params: dict[str, np.ndarray], groups: str) -> list[list[tuple[str, Any]]]:
    """The groups of a network of one layer, each a list of names and what to take of them."""
    weights = [name for name in params if "bias" not in name]
    if groups == "outgoing":
        hidden = params["weight_hh_l0"].shape[1]
        both = ("weight_hh_l0", "weight_hy")
        return [[(name, np.s_[:, j]) for name in both] for j in range(hidden)]
    found: list[list[tuple[str, Any]]] = []
    for name in weights:
        rows, columns = params[name].shape
        quarter = rows // 4
        found += {
            "rows": [[(name, np.s_[i])] for i in range(rows)],
            "columns": [[(name, np.s_[:, j])] for j in range(columns)],
            "matrix": [[(name, np.s_[:])]],
            "gates": [[(name, np.s_[i * quarter : (i + 1) * quarter])] for i in range(4)],
        }[groups]
    return found


@pytest.mark.parametrize("groups", ["rows", "columns", "matrix"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_newton_ends_for_groups_that_hardly_live(dtype: str, groups: str) -> None:
    """A root far smaller than strength * h, next to which Newton's steps never become small."""
    rng = np.random.default_rng(7)
    w = rng.uniform(0.5, 1, (40, 30)).astype(dtype)
    h = 0.01 / (1 + 1e-8)  # where all gradients are 1, Adam's first step and its step size
    free = w.astype(float) - h
    axis = {"rows": 1, "columns": 0, "matrix": None}[groups]
    norms = np.ravel(np.sqrt(np.sum(free**2, axis=axis)))
    for nearly in (1e-2, 1e-4, 1e-6):
        params, state = {"weight": w.copy()}, nr.init_state(nr.Adam(0.01), {"weight": w})
        lasso = nr.GroupLasso((1 - nearly) / h, groups=groups, weights=norms)
        nr.update(
            params, {"weight": np.ones_like(w)}, state, rule=nr.Adam(0.01), penalty=nr.Prox(lasso)
        )
        bound = {"float32": 1e-6, "float64": 1e-14}[dtype]  # some roundings of w, which is 1
        np.testing.assert_allclose(params["weight"], nearly * free, rtol=0, atol=bound)


AXES = ("rows", "columns", "matrix")


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
@pytest.mark.parametrize("groups", AXES)
@pytest.mark.parametrize("size", [1e-41, 3e-39, 2e-38])
def test_groups_whose_norm_is_next_to_nothing(
    implementation: Any, groups: str, size: float
) -> None:
    """1 / norm, and strength / norm, are beyond float32: the most there is takes their place."""
    w = np.full((2, 2), size, np.float32)
    zero = np.zeros_like(w)
    norm = float(size) * (2 if groups == "matrix" else np.sqrt(2))
    for rule in (nr.SGD(1.0), nr.Adam(1e-3)):
        params = {"w": w.copy()}
        state = nr.init_state(rule, params)
        lasso = nr.GroupLasso(100.0, groups=groups)
        info = implementation.update(params, {"w": zero}, state, rule=rule, penalty=lasso)
        assert np.isfinite([*params["w"].ravel(), *vars(info).values()]).all()
        assert (params["w"] < 0).all()
        if rule.uniform_step:  # as far as the strength says, or as near to it as float32 comes
            full = 100.0 * np.sqrt(4 if groups == "matrix" else 2)
            pull = min(full / norm, np.finfo(np.float32).max)
            np.testing.assert_allclose(params["w"], -pull * w.astype(float), rtol=1e-5)
    params = {"w": w.copy()}
    norms = []
    for _ in range(2):
        unit = nr.UnitNorm(groups=groups)
        info = implementation.update(params, {"w": zero}, rule=nr.SGD(1.0), penalty=unit)
        assert np.isfinite([*params["w"].ravel(), *vars(info).values()]).all()
        norms.append(np.linalg.norm(params["w"], axis={"rows": 1, "columns": 0}.get(groups)))
    # Twice where one factor of float32 is too small.
    np.testing.assert_allclose(norms[0], min(1, np.finfo(np.float32).max * norm), rtol=1e-4)
    np.testing.assert_allclose(norms[1], 1, rtol=1e-6)


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
@pytest.mark.parametrize("groups", AXES)
def test_groups_whose_squares_overflow(implementation: Any, groups: str) -> None:
    """In float64 the square of 1e200 is not finite, but the norm is; beside a group of order 1."""
    w = np.array([[3e200, 4e200], [3.0, 4.0]])
    w = w.T.copy() if groups == "columns" else w
    count = 1 if groups == "matrix" else 2
    norms = np.array([5e200]) if groups == "matrix" else np.array([5e200, 5.0])
    axis = {"rows": np.s_[:, None], "columns": np.s_[None, :], "matrix": np.s_[:, None]}[groups]

    def after(penalty: Any, rule: Any) -> tuple[np.ndarray, Any]:
        params = {"w": w.copy()}
        state = nr.init_state(rule, params)
        zero = {"w": np.zeros_like(w)}
        with np.errstate(over="ignore"):  # of the reference's norms
            info = implementation.update(params, zero, state, rule=rule, penalty=penalty)
        return params["w"], info

    bounded, info = after(nr.MaxNorm(2.0, groups=groups), nr.SGD(1.0))
    np.testing.assert_allclose(bounded, w * (2.0 / norms)[axis], rtol=1e-14)
    assert info.param_norm == pytest.approx(2.0 * np.sqrt(count))
    unit, info = after(nr.UnitNorm(groups=groups), nr.SGD(1.0))
    np.testing.assert_allclose(unit, w / norms[axis], rtol=1e-14)
    assert info.param_norm == pytest.approx(np.sqrt(count))
    lasso = nr.GroupLasso(1.0, groups=groups, weights=norms / 2)
    shrunk, info = after(lasso, nr.SGD(1.0))
    np.testing.assert_allclose(shrunk, w / 2, rtol=1e-14)
    assert info.penalty == pytest.approx(5e200 / 2 * 5e200) or info.penalty == np.inf
    np.testing.assert_allclose(after(nr.Prox(lasso), nr.SGD(1.0))[0], w / 2, rtol=1e-14)
    # Adam's first step sizes: lr / eps where the gradient is 0.
    far = nr.Prox(nr.GroupLasso(1.0, groups=groups, weights=norms / 2e5))
    np.testing.assert_allclose(after(far, nr.Adam(1e-3))[0], w / 2, rtol=1e-12)


@pytest.mark.parametrize("groups", AXES)
def test_the_value_of_a_penalty_of_weights_beside_groups(groups: str) -> None:
    """Blocks of a matrix beside a prox of its columns are large: half a million numbers are summed.

    In float32 that would be off by 1.6e-5.
    """
    w = np.full((4096, 128), 0.7, np.float32)  # rounded to the same side again and again
    value = 0.1 * np.sum(np.square(w, dtype=np.float64))
    params = {"w": w}
    terms = [nr.L2(0.1), nr.Prox(nr.GroupLasso(0.0, groups=groups))]
    info = nr.update(params, {"w": np.zeros_like(w)}, rule=nr.SGD(0.0), penalty=terms)
    # 0.1 and two products are rounded, each by 6e-8 at most.
    assert info.penalty == pytest.approx(value, rel=2e-7)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("groups", ["rows", "columns", "matrix", "gates", "outgoing"])
def test_a_group_of_zeros_stays_until_the_loss_pulls_hard(rule: Any, groups: str) -> None:
    params = network("lstm", 4, 1, False, "float32", seed=8)
    for w in params.values():
        w[...] = 0
    state = nr.init_state(rule, params)
    grads = gradients_of(params, seed=9)
    strong, weak = (nr.Prox(nr.GroupLasso(s, groups=groups)) for s in (1e3, 1e-3))
    info = nr.update(params, grads, state, rule=rule, penalty={"weight_*": strong})
    inside = [name for name in params if "bias" not in name]
    if groups == "outgoing":
        inside.remove("weight_ih_l0")
    for name in params:
        assert params[name].any() == (name not in inside)
    assert info.penalty == 0
    for _ in range(3):
        nr.update(params, grads, state, rule=rule, penalty={"weight_*": weak})
    assert all(w.any() for w in params.values())


@pytest.mark.parametrize("groups", ["rows", "columns", "matrix"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_size_of_zero_changes_nothing(dtype: str, groups: str) -> None:
    """Also for groups of zeros, which have no root then."""
    w = np.random.default_rng(10).standard_normal((5, 7)).astype(dtype)
    w[2] = w[:, 3] = 0
    for start in (w, np.zeros_like(w)):
        for rule in (nr.SGD(0.0), nr.Momentum(0.0), nr.Adam(0.0), nr.AdamW(0.0)):
            params, state = {"weight": start.copy()}, nr.init_state(rule, {"weight": w})
            penalty = nr.Prox(nr.GroupLasso(0.3, groups=groups))
            info = nr.update(params, {"weight": w + 1}, state, rule=rule, penalty=penalty)
            atol = {"float32": 1e-6, "float64": 1e-15}[dtype]
            np.testing.assert_allclose(params["weight"], start, rtol=0, atol=atol)
            assert info.update_norm < 10 * atol


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_are_those_of_the_arrays(dtype: str) -> None:
    """What the returned sums say, from the arrays and each penalty's own value."""
    params = network("lstm", 12, 1, False, dtype, seed=11)
    before, grads = deepcopy(params), gradients_of(params, seed=12)
    terms = {
        "weight_ih_l0": [nr.L2(0.1), nr.GroupLasso(0.2, groups="columns"), nr.SpectralCap(1.5)],
        "weight_hh_l0": [nr.SoftOrthogonality(0.01), nr.Prox(nr.GroupLasso(0.1)), nr.L1(0.1)],
        "weight_hy": nr.Prox(nr.NuclearNorm(0.3)),
        "bias_*": nr.MaxNorm(0.5),
    }
    info = nr.update(params, grads, rule=nr.SGD(0.1), penalty=terms, clip_norm=2.0)
    value = 0.0
    for name, some in terms.items():
        for term in some if isinstance(some, list) else [some]:
            one = getattr(term, "penalty", term)
            value += one.value(before[name].astype(float)) if name in before else 0.0
    rel = {"float32": 1e-5, "float64": 1e-13}[dtype]

    def norm(arrays: Any) -> float:
        return float(np.sqrt(sum(np.sum(a.astype(float) ** 2) for a in arrays)))

    assert info.penalty == pytest.approx(value, rel=rel)
    assert info.grad_norm == pytest.approx(norm(grads.values()), rel=rel)
    assert info.clip_scale == pytest.approx(2.0 / norm(grads.values()), rel=rel)
    assert info.clipped_norm == pytest.approx(2.0, rel=rel)
    assert info.param_norm == pytest.approx(norm(params.values()), rel=rel)
    moved = [w.astype(float) - before[name] for name, w in params.items()]
    assert info.update_norm == pytest.approx(norm(moved), rel=rel)
    assert np.linalg.norm(params["weight_ih_l0"], 2) <= 1.5 * (1 + 1e-6)
    assert np.linalg.norm(params["bias_ih_l0"]) <= 0.5 * (1 + 1e-6)


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
def test_strengths_follow_the_state(implementation: Any) -> None:
    params = {"weight": np.array([[4.0, 2.0]])}
    state = nr.init_state(nr.SGD(0.5), params)
    seen: list[int] = []

    def strength(step: int) -> float:
        seen.append(step)
        return 1.0 / step

    zero = {"weight": np.zeros((1, 2))}
    for step, wanted in ((1, [0.0, 0.0]), (2, [0.0, 0.0])):
        implementation.update(params, zero, state, rule=nr.SGD(0.5), penalty=nr.L2(strength))
        assert params["weight"].tolist() == [wanted]
        assert seen[-1] == step == state["step"]
    # One within the sparse group lasso, and in a list, under a prox.
    params["weight"][...] = 4.0, 2.0
    sparse = nr.Prox(nr.SparseGroupLasso(lambda step: 3.0 / step, 0.0))
    implementation.update(params, zero, state, rule=nr.SGD(0.5), penalty=[sparse])
    assert params["weight"].tolist() == [[3.5, 1.5]]


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
def test_weights_of_elements_and_groups(implementation: Any) -> None:
    params = network("lstm", 3, 1, False, "float64", seed=20)
    zero = {name: np.zeros_like(w) for name, w in params.items()}
    rng = np.random.default_rng(21)
    element, group = rng.uniform(0, 2, (12, 3)), rng.uniform(0, 2, 3)
    before = deepcopy(params)
    penalty = {
        "weight_hh_l0[*]": [
            nr.L2(0.5, weights={"weight_hh_l0": element}, center="identity"),
            nr.MaxNorm(0.4, weights=group),
        ]
    }
    implementation.update(params, zero, rule=nr.SGD(0.1), penalty=penalty)
    start = before["weight_hh_l0"]
    pulled = start - 0.1 * element * (start - np.tile(np.eye(3), (4, 1)))
    norms = np.linalg.norm(pulled, axis=1)
    bound = 0.4 * np.tile(group, 4)  # for each gate the factors of its rows
    wanted = pulled * np.minimum(1, bound / np.where(norms > 0, norms, 1))[:, None]
    np.testing.assert_allclose(params["weight_hh_l0"], wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("rule", [nr.Adam(1e-3), nr.AdamW(1e-3)], ids=repr)
@pytest.mark.parametrize("groups", ["rows", "columns", "matrix"])
def test_groups_at_zero_under_a_strength_that_is_nothing_in_float32(rule: Any, groups: str) -> None:
    for strength in (1e-44, 1e-46, 5e-324):
        for start, gradient in ((0, 0), (0, 1), (1, 0)):
            params = {"weight_hh_l0": np.full((4, 4), start, np.float32)}
            grads = {"weight_hh_l0": np.full((4, 4), gradient, np.float32)}
            expected = {name: w.astype(float) for name, w in params.items()}
            penalty = nr.Prox(nr.GroupLasso(strength, groups=groups))
            for module, at in ((nr, params), (reference, expected)):
                g = {name: g.astype(at[name].dtype) for name, g in grads.items()}
                module.update(at, g, nr.init_state(rule, at), rule=rule, penalty=penalty)
            np.testing.assert_allclose(params["weight_hh_l0"], expected["weight_hh_l0"], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "penalty",
    [
        nr.MaxNorm(0.5),
        nr.UnitNorm(),
        nr.Prox(nr.GroupLasso(0.5)),
        nr.MaxNorm(0.5, groups="columns"),
    ],
    ids=repr,
)
def test_update_norm_where_a_prox_takes_the_step_back(penalty: Any, dtype: str) -> None:
    """At rest the change is the rounding of a difference, of squares of the step: never NaN."""
    rng = np.random.default_rng(0)
    a, w = rng.standard_normal((40, 6)), np.ones((6, 5), dtype)
    b = a @ rng.standard_normal((6, 5))
    for _ in range(300):
        before, grads = w.copy(), {"w": (2 * a.T @ (a @ w - b)).astype(dtype)}
        info = nr.update({"w": w}, grads, rule=nr.SGD(0.005), penalty=penalty)
        step = 0.005 * info.grad_norm
        error = 4 * np.sqrt(np.finfo(dtype).eps) * step
        assert abs(info.update_norm - np.linalg.norm(w - before)) <= error


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("groups", ["rows", "columns"])
def test_update_norm_where_what_a_step_leaves_is_made_large(groups: str, dtype: str) -> None:
    """The change is then no difference of squares ten thousand times as large."""
    before = np.array([[0.6, 0.8]], dtype)
    w = {"rows": before, "columns": before.T}[groups].copy()
    start = w.copy()
    one = w.dtype.type
    g = w * one(1 - 1e-4) + one(1e-4) * np.array([[1, -1]], dtype).reshape(w.shape)
    info = nr.update({"w": w}, {"w": g}, rule=nr.SGD(1.0), penalty=nr.UnitNorm(groups=groups))
    assert info.update_norm == pytest.approx(np.linalg.norm(w - start), rel=2e-3)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0,), (1, 1)])
def test_empty_and_single_weights(shape: tuple[int, ...]) -> None:
    penalties: list[Any] = [
        wrap(nr.GroupLasso(0.1, groups=groups))
        for groups in ("rows", "columns", "matrix", "gates")
        for wrap in (nr.Prox, lambda p: p)
    ]
    penalties += [nr.MaxNorm(0.5), nr.UnitNorm(groups="columns"), nr.NonNegative()]
    if len(shape) == 2:
        penalties += [nr.SpectralNorm(0.1), nr.SpectralCap(0.5), nr.SoftOrthogonality(0.1)]
    for rule in (nr.SGD(0.1), nr.Adam(0.1)):
        for penalty in penalties:
            params = {"weight": np.ones(shape), "other": np.ones(3)}
            twin = deepcopy(params)
            state, twin_state = nr.init_state(rule, params), nr.init_state(rule, twin)
            grads = {name: np.ones_like(w) for name, w in params.items()}
            mapping = {"weight": penalty}
            info = nr.update(params, grads, state, rule=rule, penalty=mapping, clip_ratio=0.5)
            wanted = reference.update(
                twin, grads, twin_state, rule=rule, penalty=mapping, clip_ratio=0.5
            )
            for name in params:
                np.testing.assert_allclose(params[name], twin[name], rtol=1e-12, atol=1e-14)
            for field in fields(info):
                other = getattr(wanted, field.name)
                assert getattr(info, field.name) == pytest.approx(other, rel=1e-12, abs=1e-14)
