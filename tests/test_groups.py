"""Penalties and constraints of groups, gates and matrices in whole networks: core and reference.

One file, for every test draws from the same networks and penalties.
"""

from copy import deepcopy
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import normrnn as nr
from agreement import assert_agrees, assert_info_agrees
from normrnn import reference
from normrnn.penalties import GroupPenalty, registry
from normrnn.penalties.base import strength_names
from runs import in_float64

DTYPES = ("float32", "float64")
RULES = (
    nr.SGD(0.1),
    nr.Momentum(0.05, momentum=0.5),
    nr.Momentum(0.05, momentum=0.5, nesterov=True),
    nr.Adam(0.02),
    nr.AdamW(0.02),
)
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


def network(
    cell: str, hidden: int, layers: int, bidirectional: bool, dtype: str, seed: int
) -> dict[str, np.ndarray]:
    """Weights of order 1, some units of which are silent: their columns are 0."""
    rng = np.random.default_rng(seed)
    params = nr.init_params(
        cell, 5, hidden, num_layers=layers, bidirectional=bidirectional, output_size=2, dtype=dtype
    )
    for w in params.values():
        w[...] = rng.uniform(-1, 1, w.shape)
        w[..., rng.uniform(size=w.shape[-1]) < 0.1] = 0
    return params


def gradients_of(params: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(w.shape).astype(w.dtype) for name, w in params.items()}


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


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_beside_penalties_of_matrices(dtype: str) -> None:
    """NumPy's linear algebra has threads of its own, as many in each of these runs."""
    start = network("lstm", 65, 1, True, dtype, seed=39)
    grads = gradients_of(start, seed=40)
    penalty = {
        "weight_hh_l0[*]": [nr.SpectralNorm(0.1), nr.SoftOrthogonality(0.01), nr.L1(0.01)],
        "weight_hh_l0_reverse[*]": nr.SpectralCap(0.9),
        "weight_ih_*": [nr.Prox(nr.NuclearNorm(0.1)), nr.GroupLasso(0.1)],
        "weight_hy": nr.Prox(nr.SpectralNorm(0.1)),
    }
    found = []
    for threads in (1, 2, 3):
        params = deepcopy(start)
        state = nr.init_state(nr.AdamW(0.01), params)
        for _ in range(3):
            info = nr.update(
                params, grads, state, rule=nr.AdamW(0.01), penalty=penalty, num_threads=threads
            )
        found.append([info, *(w.tobytes() for w in params.values())])
    assert all(bits == found[0] for bits in found[1:])


def units_of(
    params: dict[str, np.ndarray], heads: tuple[str, ...] = ("weight_hy",)
) -> list[list[tuple[str, int]]]:
    """For each hidden unit of a bidirectional network, where its outgoing columns are."""
    hidden = params["weight_hh_l0"].shape[1]
    layers = sum(name.startswith("weight_hh") for name in params) // 2
    units = []
    for layer in range(layers):
        top = layer + 1 == layers
        above = heads if top else [f"weight_ih_l{layer + 1}{d}" for d in ("", "_reverse")]
        for direction, suffix in enumerate(["", "_reverse"]):
            for j in range(hidden):
                beside = [(name, direction * hidden + j) for name in above]
                units.append([(f"weight_hh_l{layer}{suffix}", j), *beside])
    return units


def columns_of(params: dict[str, np.ndarray], unit: list[tuple[str, int]]) -> np.ndarray:
    return np.concatenate([params[name][:, j] for name, j in unit])


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


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
def test_clip_ratio_where_squares_overflow(implementation: Any) -> None:
    params = {"w": np.array([[3.0, 4.0], [3e200, 4e200], [1.0, 0.0]])}
    grads = {"w": np.array([[3e200, -4e200], [3e250, -4e250], [0.1, 0.1]])}
    before = params["w"].copy()
    with np.errstate(over="ignore"):  # of the reference's norms
        info = implementation.update(params, grads, rule=nr.SGD(1.0), clip_ratio=0.5)
    clipped = np.array([[1.5, -2.0], [1.5e200, -2e200], [0.1, 0.1]])
    np.testing.assert_allclose(before - params["w"], clipped, rtol=1e-14)
    assert not np.isnan([*vars(info).values()]).any()


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


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_matrices_agree_with_the_reference(dtype: str, rule: Any) -> None:
    """Singular values well apart, from each other and from 0: these penalties have kinks there."""
    rng = np.random.default_rng(13)
    gates = []
    for _ in range(3):
        u, _, vt = np.linalg.svd(rng.standard_normal((9, 9)))
        gates.append((u * np.linspace(2, 0.4, 9)) @ vt)
    params = {"weight_hh_l0": np.concatenate(gates).astype(dtype)}
    smooth = [nr.NuclearNorm(0.02), nr.SpectralNorm(0.2, tolerance=1e-9), nr.L2(0.1)]
    penalties: list[Any] = [
        {"weight_hh_l0[*]": [*smooth, nr.MaxNorm(1.2)]},
        {
            "weight_hh_l0[r]": [nr.SoftOrthogonality(0.05), nr.NonNegative()],
            "*": nr.SpectralCap(1.5),
        },
    ]
    if rule.uniform_step:
        lasso = nr.GroupLasso(0.05, groups="columns")
        penalties.append({"weight_*": [nr.Prox(nr.NuclearNorm(0.3)), lasso, nr.L1(0.01)]})
        penalties.append({"weight_hh_l0[*]": nr.Prox(nr.SpectralNorm(0.3))})
    for penalty in penalties:
        start = deepcopy(params)
        state = nr.init_state(rule, start)
        for step in range(3):
            expected, expected_state = in_float64(start), in_float64(deepcopy(state))
            grads = gradients_of(start, seed=step)
            grads = {name: g * np.asarray(0.1, dtype) for name, g in grads.items()}
            info = nr.update(start, grads, state, rule=rule, penalty=penalty)
            wanted = reference.update(
                expected, in_float64(grads), expected_state, rule=rule, penalty=penalty
            )
            # As for elements, but products of singular vectors: some thirty terms each.
            atol = {"float32": 2e-5, "float64": 1e-7}[dtype]
            name = "weight_hh_l0"
            np.testing.assert_allclose(start[name], expected[name], rtol=0, atol=atol)
            for field in fields(info):
                actual, other = getattr(info, field.name), getattr(wanted, field.name)
                assert actual == pytest.approx(other, rel=20 * atol), field.name


MATRICES: list[Any] = [
    nr.NuclearNorm,
    nr.SpectralNorm,
    nr.SoftOrthogonality,
    nr.SpectralCap,
    lambda *a, **k: nr.Prox(nr.NuclearNorm(*a, **k)),
    lambda *a, **k: nr.Prox(nr.SpectralNorm(*a, **k)),
]


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
@pytest.mark.parametrize("of", MATRICES)
@pytest.mark.parametrize(("cell", "letters"), [("gru", "rzn"), ("lstm", "ifgo")])
def test_a_weight_for_each_matrix(implementation: Any, of: Any, cell: str, letters: str) -> None:
    """Gate by gate what a strength times its weight does alone, whichever a pattern takes."""
    params = network(cell, 5, 1, False, "float64", seed=37)
    one = np.linspace(0.5, 2, len(letters))
    both = {"weight_hh_l0": one, "weight_ih_l0": one[::-1].copy()}
    name, second = "weight_hh_l0", letters[1]
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (
            {f"{name}[*]": of(0.3, weights=one)},
            {f"{name}[{g}]": of(0.3 * a) for g, a in zip(letters, one, strict=True)},
        ),
        (
            {f"{n}[*]": of(0.3, weights=both) for n in both},
            {
                f"{n}[{g}]": of(0.3 * a)
                for n, weights in both.items()
                for g, a in zip(letters, weights, strict=True)
            },
        ),
        ({f"{name}[{second}]": of(0.3, weights=one)}, {f"{name}[{second}]": of(0.3 * one[1])}),
        ({name: of(0.3, weights=one[:1])}, {name: of(0.3 * one[0])}),
        ({"weight_hy": of(0.3, weights=one[:1])}, {"weight_hy": of(0.3 * one[0])}),
    ]
    for weighted, plain in cases:
        after, value = moved(implementation, params, weighted, 0.1)
        wanted, total = moved(implementation, params, plain, 0.1)
        assert value == pytest.approx(total, rel=1e-13)
        for key in params:  # 0.3 a is rounded once or twice
            np.testing.assert_allclose(after[key], wanted[key], rtol=0, atol=1e-13, err_msg=key)
        assert any((after[key] != params[key]).any() for key in params)


@pytest.mark.parametrize("of", [nr.NuclearNorm, nr.SpectralNorm])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_value_beside_a_prox_of_a_matrix(
    of: Any, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept from one update to the next: a decomposition each, and the value is of these weights."""
    rule, penalty = nr.SGD(0.1), {"weight_hh_l0[*]": nr.Prox(of(0.05, weights=np.ones(4)))}
    params = network("lstm", 12, 1, False, dtype, seed=38)
    state = nr.init_state(rule, params)
    decompose, count = np.linalg.svd, 0

    def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return decompose(*arguments, **options)

    for step in range(4):
        gates = np.split(params["weight_hh_l0"].astype(float), 4)
        wanted = sum(of(0.05).value(gate) for gate in gates)
        count = 0
        monkeypatch.setattr(np.linalg, "svd", counting)
        info = nr.update(params, gradients_of(params, step), state, rule=rule, penalty=penalty)
        monkeypatch.setattr(np.linalg, "svd", decompose)
        # In float32 the weights are rounded after the prox.
        assert info.penalty == pytest.approx(wanted, rel={"float32": 1e-5, "float64": 1e-13}[dtype])
        others = step in (0, 3)  # the first update, and weights that others have changed
        assert count == (8 if others else 4)
        if step == 2:
            params["weight_hh_l0"] *= np.asarray(1.5, dtype)
    # Another penalty of the same weights asks what that one has not left.
    other = nr.SpectralNorm if of is nr.NuclearNorm else nr.NuclearNorm
    gates = np.split(params["weight_hh_l0"].astype(float), 4)
    wanted = sum(other(0.05).value(gate) for gate in gates)
    penalty = {"weight_hh_l0[*]": nr.Prox(other(0.05))}
    info = nr.update(params, gradients_of(params, 9), state, rule=rule, penalty=penalty)
    assert info.penalty == pytest.approx(wanted, rel={"float32": 1e-5, "float64": 1e-13}[dtype])


@pytest.mark.parametrize("error", [np.linalg.LinAlgError("did not converge"), KeyboardInterrupt()])
@pytest.mark.parametrize("rule", [nr.SGD(0.1), nr.AdamW(0.01)], ids=repr)
def test_a_decomposition_that_fails_changes_nothing(
    error: BaseException, rule: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes after the core's step; here that of the second of four gates fails."""
    penalty = {"weight_hh_l0[*]": nr.Prox(nr.NuclearNorm(0.05)), "weight_ih_l0": nr.L2(0.1)}
    arguments = lstm_problem(rule=rule, penalty=penalty)
    nr.update(**arguments)
    before = deepcopy({key: arguments[key] for key in ("params", "grads", "state")})
    decompose, count = np.linalg.svd, 0

    def failing(*given: Any, **options: Any) -> Any:
        nonlocal count
        count += options.get("compute_uv", True)  # the others are for the value, before the step
        if count == 2:
            raise error
        return decompose(*given, **options)

    monkeypatch.setattr(np.linalg, "svd", failing)
    with pytest.raises(type(error)):
        nr.update(**arguments)
    assert count == 2
    assert_unchanged(before, arguments)
    monkeypatch.setattr(np.linalg, "svd", decompose)
    nr.update(**arguments)
    assert arguments["state"]["step"] == 2


def test_vectors_are_kept_in_the_state() -> None:
    params = network("lstm", 8, 1, False, "float32", seed=14)
    grads = gradients_of(params, seed=15)
    state = nr.init_state(nr.SGD(0.1), params)
    penalty = {"weight_hh_l0[*]": nr.SpectralNorm(0.1), "weight_ih_l0": nr.SpectralNorm(0.1)}
    nr.update(params, grads, state, rule=nr.SGD(0.0), penalty=penalty)
    height = 8
    keys = ["weight_ih_l0[0]", *(f"weight_hh_l0[{i * height}]" for i in range(4))]
    assert sorted(state["vectors"]) == sorted(keys)
    for i in range(4):
        gate = params["weight_hh_l0"][i * height : (i + 1) * height]
        _, _, vt = np.linalg.svd(gate)
        kept = state["vectors"][f"weight_hh_l0[{i * height}]"]["right"]
        assert abs(vt[0] @ kept) > 0.99
    # What is refused leaves them alone.
    before = deepcopy(state)
    grads["weight_hy"][0, 0] = np.nan
    params["weight_hh_l0"] *= 2
    with pytest.raises(FloatingPointError, match=r"^grads\['weight_hy'\]"):
        nr.update(params, grads, state, rule=nr.SGD(0.1), penalty=penalty)
    assert state["step"] == before["step"]
    for key, memory in before["vectors"].items():
        np.testing.assert_array_equal(state["vectors"][key]["right"], memory["right"])


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
def test_every_gate_is_regularised(implementation: Any) -> None:
    """In Keras only the last gate was, once (keras#1951), and at another time one was left out."""
    for cell, gates in {"rnn_tanh": 1, "gru": 3, "lstm": 4}.items():
        for penalty in (nr.L2(0.5), nr.L1(0.5), nr.Prox(nr.L2(0.5)), nr.GroupLasso(0.5)):
            start = network(cell, 5, 2, True, "float64", seed=16)
            for w in start.values():
                w[...] = 1 + np.arange(w.size).reshape(w.shape) / w.size
            zero = {name: np.zeros_like(w) for name, w in start.items()}
            params = deepcopy(start)
            mapping = {"weight_hh_*": penalty}
            implementation.update(params, zero, rule=nr.SGD(0.1), penalty=mapping)
            for name, w in params.items():
                moved = w != start[name]
                if name.startswith("weight_hh"):
                    assert [block.all() for block in np.split(moved, gates)] == [True] * gates
                else:
                    assert not moved.any()


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
@pytest.mark.parametrize(("cell", "letters"), [("gru", "rzn"), ("lstm", "ifgo")])
def test_one_gate_alone(implementation: Any, cell: str, letters: str) -> None:
    """Gate by gate (keras#1835 skipped one): its rows move by 2 lr strength w, and no others."""
    hidden = 5
    for name in ("weight_hh_l0", "weight_ih_l1_reverse", "bias_hh_l0"):
        for k, letter in enumerate(letters):
            start = network(cell, hidden, 2, True, "float64", seed=17)
            params, zero = deepcopy(start), {n: np.zeros_like(w) for n, w in start.items()}
            implementation.update(
                params, zero, rule=nr.SGD(0.1), penalty={f"{name}[{letter}]": nr.L2(0.5)}
            )
            rows = slice(k * hidden, (k + 1) * hidden)
            wanted = deepcopy(start)
            wanted[name][rows] *= 0.9
            for other, w in params.items():
                np.testing.assert_allclose(w, wanted[other], rtol=1e-15, err_msg=other)


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
@pytest.mark.parametrize(("cell", "letters"), [("gru_ln", "rzn"), ("lstm_ln", "ifgo")])
def test_gates_of_gains(implementation: Any, cell: str, letters: str) -> None:
    params = network(cell, 5, 2, True, "float64", seed=33)
    weights = np.arange(1.0, len(letters) + 1)
    lasso = nr.GroupLasso(0.3, groups="gates", weights=weights)
    for name in ("gain_ih_l1", "gain_hh_l0", "gain_hh_l1_reverse"):
        for k, letter in enumerate(letters):
            after, value = moved(implementation, params, {f"{name}[{letter}]": nr.L2(0.5)}, 0.1)
            wanted = deepcopy(params)
            rows = slice(k * 5, (k + 1) * 5)
            wanted[name][rows] *= 0.9
            assert value == pytest.approx(0.5 * np.sum(params[name][rows] ** 2), rel=1e-13)
            for other, w in after.items():
                np.testing.assert_allclose(w, wanted[other], rtol=1e-15, err_msg=other)
        after, value = moved(implementation, params, {name: lasso}, 0.1)
        blocks = np.split(params[name], len(letters))
        norms = np.array([np.linalg.norm(block) for block in blocks])
        assert value == pytest.approx(0.3 * np.sum(weights * norms), rel=1e-13)
        factors = np.repeat(1 - 0.1 * 0.3 * weights / norms, 5)
        np.testing.assert_allclose(after[name], factors * params[name], rtol=1e-14)


@pytest.mark.parametrize("penalty", [nr.L2(0.5), nr.GroupLasso(0.5), nr.GroupLasso(0.5, "gates")])
@pytest.mark.parametrize("cell", ["rnn_tanh_ln", "gru_ln", "lstm_ln"])
def test_gains_are_spared_unless_named(cell: str, penalty: Any) -> None:
    params = network(cell, 5, 2, True, "float64", seed=34)
    patterns: list[Any] = [penalty, {"*": penalty}, {"*_hh_*": penalty}]
    patterns += [{"*[*]": penalty}] if cell != "rnn_tanh_ln" else []
    for some in patterns:
        after, _ = moved(nr, params, some, 0.1)
        changed = {name.partition("_")[0] for name, w in params.items() if (after[name] != w).any()}
        assert changed == {"weight"}
    after, _ = moved(nr, params, {"gain_*": penalty}, 0.1)
    changed = {name.partition("_")[0] for name, w in params.items() if (after[name] != w).any()}
    assert changed == {"gain"}


def test_each_clip_does_what_its_name_says() -> None:
    """FlashRNN once read a clip's threshold from another option."""
    params = network("gru", 6, 1, False, "float64", seed=18)
    grads = gradients_of(params, seed=19)
    whole = np.sqrt(sum(np.sum(g**2) for g in grads.values()))

    def by_ratio(g: np.ndarray, w: np.ndarray) -> np.ndarray:
        rows, weights = np.atleast_2d(g), np.atleast_2d(w)
        norm = np.linalg.norm(rows, axis=1, keepdims=True)
        most = 0.25 * np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-3)
        return (rows * np.minimum(1, most / norm)).reshape(g.shape)

    wanted = {
        "clip_norm": lambda g, w: g * 0.25 / whole,
        "clip_value": lambda g, w: np.clip(g, -0.25, 0.25),
        "clip_ratio": by_ratio,
    }
    params["bias_hh_l0"][...] = 0  # what is 0 counts as 1e-3, so that it can grow
    for implementation in (nr, reference):
        for clip, held in wanted.items():
            moved = deepcopy(params)
            info = implementation.update(moved, grads, rule=nr.SGD(1.0), **{clip: 0.25})
            total = 0.0
            for name, w in params.items():
                clipped = held(grads[name], w)
                np.testing.assert_allclose(w - moved[name], clipped, rtol=0, atol=1e-14)
                total += np.sum(clipped**2)
            assert info.clipped_norm == pytest.approx(np.sqrt(total), rel=1e-13)
            assert info.grad_norm == pytest.approx(whole, rel=1e-13)
            scale = 0.25 / whole if clip == "clip_norm" else 1.0
            assert info.clip_scale == pytest.approx(scale, rel=1e-13)


@pytest.mark.parametrize("clip", ["clip_norm", "clip_value", "clip_ratio"])
def test_a_clip_that_does_not_bind_changes_nothing(clip: str) -> None:
    params = network("gru", 6, 1, False, "float32", seed=18)
    grads = gradients_of(params, seed=19)
    params["weight_hy"][...] = 1
    twin = deepcopy(params)
    info = nr.update(params, grads, rule=nr.SGD(1.0), penalty=nr.L2(0.1), **{clip: 1e9})
    plain = nr.update(twin, grads, rule=nr.SGD(1.0), penalty=nr.L2(0.1))
    for name in params:
        np.testing.assert_array_equal(params[name], twin[name])
    assert info.clipped_norm == pytest.approx(info.grad_norm, rel=1e-12)
    rounded = ("penalty", "update_norm", "param_norm", "clipped_norm")  # rows are summed by rows
    for name in rounded:
        assert getattr(info, name) == pytest.approx(getattr(plain, name), rel=1e-6)
    assert replace(info, **dict.fromkeys(rounded, 0)) == replace(plain, **dict.fromkeys(rounded, 0))


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


def moved(
    implementation: Any, params: dict[str, np.ndarray], penalty: Any, lr: float
) -> tuple[dict[str, np.ndarray], float]:
    """What an update by the penalty alone makes of the parameters, and its value before."""
    after = deepcopy(params)
    zero = {name: np.zeros_like(w) for name, w in params.items()}
    info = implementation.update(after, zero, rule=nr.SGD(lr), penalty=penalty)
    return after, info.penalty


def scaled_group(kind: str, group: np.ndarray, weight: float, lr: float) -> np.ndarray:
    """A group after one update by GroupLasso(0.3) or MaxNorm(0.3), and so on."""
    norm = np.linalg.norm(group)
    if norm == 0:
        return group
    factor = {
        "gradient": 1 - lr * 0.3 * weight / norm,
        "prox": max(0.0, 1 - lr * 0.3 * weight / norm),
        "bound": min(1.0, 0.3 * weight / norm),
        "norm": weight / norm,
    }[kind]
    return factor * group


def of_kind(kind: str, **options: Any) -> Any:
    if kind == "bound":
        return nr.MaxNorm(0.3, **options)
    if kind == "norm":
        return nr.UnitNorm(**options)
    lasso = nr.GroupLasso(0.3, **options)
    return nr.Prox(lasso) if kind == "prox" else lasso


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
@pytest.mark.parametrize("kind", ["gradient", "prox", "bound", "norm"])
@pytest.mark.parametrize(("cell", "letters"), [("gru", "rzn"), ("lstm", "ifgo")])
def test_a_weight_for_each_gate(implementation: Any, kind: str, cell: str, letters: str) -> None:
    """Gate by gate, written out, whichever gates a pattern takes."""
    params = network(cell, 5, 2, True, "float64", seed=24)
    gates = len(letters)
    one = np.random.default_rng(25).uniform(0.5, 9, gates)
    of_each = {"weight_hh_l0": one, "weight_ih_l1_reverse": one[::-1], "bias_hh_l1": 2 * one}
    second = letters[1]
    cases: list[tuple[dict[str, Any], dict[str, np.ndarray], list[int]]] = [
        (
            {"weight_hy": None, "weight_*": of_kind(kind, groups="gates", weights=one)},
            {name: one for name in params if name[:9] in ("weight_ih", "weight_hh")},
            list(range(gates)),
        ),
        (
            {name: of_kind(kind, groups="gates", weights=of_each) for name in of_each},
            of_each,
            list(range(gates)),
        ),
        (
            {f"weight_hh_l0[{second}]": of_kind(kind, groups="gates", weights=one)},
            {"weight_hh_l0": one},
            [1],
        ),
        (
            {
                f"weight_hh_l0[{second}]": nr.L2(0.0),
                "weight_hh_l0": [nr.L2(0.0), of_kind(kind, groups="gates", weights=of_each)],
            },
            {"weight_hh_l0": one},
            [0, *range(2, gates)],
        ),
    ]
    for mapping, weights, taken in cases:
        after, value = moved(implementation, params, mapping, 0.5)
        wanted, total = deepcopy(params), 0.0
        for name, factors in weights.items():
            blocks = np.split(wanted[name], gates)  # views
            for i in taken:
                total += 0.3 * factors[i] * np.linalg.norm(blocks[i])
                blocks[i][...] = scaled_group(kind, blocks[i], factors[i], 0.5)
        for name in params:
            np.testing.assert_allclose(after[name], wanted[name], rtol=0, atol=1e-14, err_msg=name)
        lasso = kind in ("gradient", "prox")
        assert value == pytest.approx(total if lasso else 0.0, rel=1e-13)


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
@pytest.mark.parametrize("kind", ["gradient", "prox", "bound", "norm"])
def test_weights_for_each_parameter(implementation: Any, kind: str) -> None:
    """A mapping: of rows, and of units by the name of their layer's W_hh."""
    params = network("gru", 4, 2, True, "float64", seed=26)
    rng = np.random.default_rng(27)
    rows = {name: rng.uniform(0.5, 9, len(params[name])) for name in ("weight_hh_l0", "weight_hy")}
    penalty = of_kind(kind, weights=rows)
    after, value = moved(implementation, params, dict.fromkeys(rows, penalty), 0.5)
    wanted, total = deepcopy(params), 0.0
    for name, factors in rows.items():
        for row, factor in zip(wanted[name], factors, strict=True):
            total += 0.3 * factor * np.linalg.norm(row)
            row[...] = scaled_group(kind, row, factor, 0.5)
    lasso = kind in ("gradient", "prox")
    assert value == pytest.approx(total if lasso else 0.0, rel=1e-13)
    for name in params:
        np.testing.assert_allclose(after[name], wanted[name], rtol=0, atol=1e-14, err_msg=name)

    layers = {f"weight_hh_l{layer}": rng.uniform(0.5, 9, 8) for layer in range(2)}
    penalty = of_kind(kind, groups="outgoing", weights=layers)
    after, value = moved(implementation, params, penalty, 0.5)
    total = 0.0
    for unit, factor in zip(units_of(params), np.concatenate(list(layers.values())), strict=True):
        group = columns_of(params, unit)
        total += 0.3 * factor * np.linalg.norm(group)
        wanted_group = scaled_group(kind, group, factor, 0.5)
        np.testing.assert_allclose(columns_of(after, unit), wanted_group, rtol=0, atol=1e-14)
    assert value == pytest.approx(total if lasso else 0.0, rel=1e-13)


def lstm_problem(**change: Any) -> dict[str, Any]:
    params = network(change.pop("cell", "lstm"), 4, 2, False, "float64", seed=22)
    params["weight_hy"] = np.ones((2, change.pop("columns", 4)))
    rule = change.pop("rule", nr.SGD(0.1))
    arguments = {"params": params, "grads": gradients_of(params, seed=23), "rule": rule}
    return arguments | {"state": nr.init_state(rule, params)} | change


LAYER_0 = "['weight_hh_l0', 'weight_ih_l1']"
TOP = "['weight_hh_l1', 'weight_hy']"
OUT = "penalty: expected a pattern for groups='outgoing' that matches "
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"penalty": {"weight_xx": nr.L2(0.1)}}, "penalty: expected a pattern that matches one of "),
    (
        {"penalty": {"weight_hh_l0[z]": nr.L2(0.1)}},
        "penalty: expected a gate of ifgo, got 'weight_hh_l0[z]'",
    ),
    (
        {"penalty": {"weight_hy[f]": nr.L2(0.1)}},
        "penalty: expected parameters that have gates, got 'weight_hy[f]'",
    ),
    (
        {"penalty": {"gain_c_l0[f]": nr.L2(0.1)}, "cell": "lstm_ln"},
        "penalty: expected parameters that have gates, got 'gain_c_l0[f]'",
    ),
    (
        {"penalty": {"gain_hh_l0[z]": nr.L2(0.1)}, "cell": "lstm_ln"},
        "penalty: expected a gate of ifgo, got 'gain_hh_l0[z]'",
    ),
    (
        {"penalty": [nr.L2(0.1), nr.L1(0.1)]},
        "penalty: expected at most one penalty of each weight, got L2 and L1",
    ),
    (
        {"penalty": {"weight_*": [nr.MaxNorm(1.0), nr.GroupLasso(0.1)]}},
        "penalty['weight_*']: expected at most one penalty of groups, got MaxNorm and GroupLasso",
    ),
    (
        {"penalty": [nr.L2(0.1), nr.SparseGroupLasso(0.1, 0.1)]},
        "penalty: expected at most one penalty of each weight, got L2 and SparseGroupLasso",
    ),
    (
        {"penalty": [nr.Prox(nr.L1(0.1)), nr.MaxNorm(1.0)]},
        "penalty: expected at most one Prox or constraint, got L1 and MaxNorm",
    ),
    (
        {"penalty": [nr.SpectralCap(1.0), nr.Prox(nr.NuclearNorm(1.0))]},
        "penalty: expected at most one Prox or constraint, got SpectralCap and NuclearNorm",
    ),
    (
        {"penalty": {"weight_hh_l0": nr.GroupLasso(0.1, groups="outgoing")}},
        OUT + f"all of {LAYER_0}, got 'weight_hh_l0' without ['weight_ih_l1']",
    ),
    (
        {"penalty": {"weight_hy": nr.GroupLasso(0.1, groups="outgoing")}},
        OUT + f"all of {TOP}, got 'weight_hy' without ['weight_hh_l1']",
    ),
    (
        {"penalty": {"weight_ih_l0": nr.MaxNorm(0.1, groups="outgoing")}},
        OUT + "a 'weight_hh_*', got 'weight_ih_l0'",
    ),
    (
        {"penalty": {"weight_hh_l0[f]": nr.GroupLasso(0.1, groups="outgoing")}},
        "penalty: expected whole arrays for groups='outgoing', got gates by 'weight_hh_l0[f]'",
    ),
    (
        {"penalty": nr.MaxNorm(0.1, groups="outgoing"), "columns": 5},
        "weight_hy: expected shape (O, 4), got (2, 5)",
    ),
    (  # the first pattern takes some of what the second is for
        {"penalty": {"weight_hy": nr.L2(0.1), "*": nr.GroupLasso(0.1, groups="outgoing")}},
        OUT + f"all of {TOP}, got '*' without ['weight_hy']",
    ),
    (
        {"penalty": nr.Prox(nr.GroupLasso(0.1, groups="outgoing", heads=["weight_hy", "w_out"]))},
        "heads: expected names of parameters for groups='outgoing', got 'w_out'",
    ),
    (
        {"penalty": nr.MaxNorm(0.1, groups="outgoing", heads=["b_hy"])},
        "heads: expected names of parameters for groups='outgoing', got 'b_hy'",
    ),
    (
        {"penalty": {"*": nr.UnitNorm("outgoing", heads=["bias_hy"]), "bias_hy": nr.L2(0.1)}},
        OUT + "all of ['weight_hh_l1', 'bias_hy'], got '*' without ['bias_hy']",
    ),
    (
        {"penalty": {"weight_hh_l0": nr.GroupLasso(0.1, weights=np.ones(3))}},
        "weights[weight_hh_l0]: expected one for each of 16 groups, shape (16,), got (3,)",
    ),
    *(
        (
            {"penalty": {p: nr.MaxNorm(0.1, groups="gates", weights=np.ones(1))}},
            "weights[weight_hh_l0]: expected one for each of 4 gates, shape (4,), got (1,)",
        )
        for p in ("weight_hh_l0", "weight_hh_l0[f]", "weight_hh_l0[*]")
    ),
    (
        {"penalty": {"*_h*": nr.Prox(nr.GroupLasso(0.1, groups="gates", weights=np.ones(4)))}},
        "weights[weight_hy]: expected one for each of 1 groups, shape (1,), got (4,)",
    ),
    (
        {"penalty": nr.GroupLasso(0.1, groups="outgoing", weights=np.ones(8))},
        "weights[weight_hh_l0]: expected one for each of 4 groups, shape (4,), got (8,)",
    ),
    (
        {"penalty": nr.GroupLasso(0.1, weights={"weight_ih_l0": np.ones(16)})},
        "weights: expected an array for weight_hh_l0, got ['weight_ih_l0']",
    ),
    (
        {"penalty": nr.UnitNorm("outgoing", weights={"weight_hh_l0": np.ones(4)})},
        "weights: expected an array for weight_hh_l1, got ['weight_hh_l0']",
    ),
    (
        {"penalty": {"weight_hh_l0[*]": nr.NuclearNorm(0.1, weights=np.ones(3))}},
        "weights[weight_hh_l0]: expected one for each of 4 gates, shape (4,), got (3,)",
    ),
    (
        {"penalty": {"weight_hh_l0": nr.SoftOrthogonality(0.1, weights=np.ones(4))}},
        "weights[weight_hh_l0]: expected one for a whole matrix, shape (1,), got (4,)",
    ),
    (
        {"penalty": {"weight_hy": nr.Prox(nr.SpectralNorm(0.1, weights=np.ones(4)))}},
        "weights[weight_hy]: expected one for a whole matrix, shape (1,), got (4,)",
    ),
    (
        {"penalty": {"weight_hh_l0[f]": nr.SpectralCap(0.1, weights={"weight_hy": np.ones(1)})}},
        "weights: expected an array for weight_hh_l0, got ['weight_hy']",
    ),
    (
        {"penalty": {"weight_hh_l0": nr.L1(0.1, weights=np.ones(3))}},
        "weights[weight_hh_l0]: expected a shape that broadcasts to (16, 4), got (3,)",
    ),
    (
        {"penalty": {"weight_hh_l0": nr.L2(0.1, center=np.ones((4, 4)))}},
        "center[weight_hh_l0]: expected shape (16, 4), got (4, 4)",
    ),
    (
        {"penalty": {"weight_ih_l0": nr.L2(0.1, center="identity")}},
        "center: expected a stack of square matrices for 'identity', got weight_ih_l0 of shape "
        "(16, 5)",
    ),
    (
        {"penalty": {"bias_hh_l0": nr.SpectralNorm(0.1)}},
        "penalty: expected a matrix for SpectralNorm, got bias_hh_l0 of shape (16,)",
    ),
    (
        {"penalty": {"weight_hh_l0": nr.Prox(nr.NuclearNorm(0.1))}, "rule": nr.Adam(0.1)},
        "rule: expected one with the same step size for all weights for Prox(NuclearNorm), such as "
        "SGD or AdamW, got Adam",
    ),
    (
        {"penalty": nr.L2(lambda step: -step)},
        "strength at step 1: expected a finite number >= 0, got -1.0",
    ),
    (
        {"penalty": {"bias_hh_l0[f]": nr.L2(0.1)}, "clip_ratio": 0.1},
        "clip_ratio: expected one penalty for all gates of a vector, got several for bias_hh_l0",
    ),
    (
        {"clip_norm": 1.0, "clip_value": 1.0},
        "clip_value: expected None beside clip_norm, got a number",
    ),
    (
        {"clip_value": 1.0, "clip_ratio": 1.0},
        "clip_ratio: expected None beside clip_value, got a number",
    ),
    ({"clip_ratio": 0.0}, "clip_ratio: expected a finite number > 0, got 0.0"),
    ({"clip_value": -1.0}, "clip_value: expected a finite number > 0, got -1.0"),
    ({"clip_norm": float("nan")}, "clip_norm: expected a finite number > 0, got nan"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[m[:60] for _, m in REFUSED])
def test_refusals(change: dict[str, Any], message: str) -> None:
    arguments = lstm_problem(**change)
    if message.endswith("one of "):
        message += f"{list(arguments['params'])}, got 'weight_xx'"
    before = deepcopy({key: arguments[key] for key in ("params", "grads", "state")})
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole text is compared below)
        nr.update(**arguments)
    assert str(error.value) == message
    assert_unchanged(before, arguments)


def assert_unchanged(before: Any, after: Any) -> None:
    for key, value in before.items():
        if isinstance(value, dict):
            assert value.keys() == after[key].keys()
            assert_unchanged(value, after[key])
        else:
            np.testing.assert_array_equal(value, after[key])


@pytest.mark.parametrize(
    "penalty", [nr.NuclearNorm(0.1), nr.SpectralCap(1.0), nr.SpectralNorm(1.0)]
)
def test_a_matrix_that_is_not_finite(penalty: Any) -> None:
    arguments = lstm_problem(penalty=penalty)
    arguments["params"]["weight_hh_l1"][3, 2] = np.nan
    before = deepcopy({key: arguments[key] for key in ("params", "grads", "state")})
    text = (
        rf"^params\['weight_hh_l1'\]: expected finite values for {type(penalty).__name__}, "
        r"got nan at index \(3, 2\)$"
    )
    with pytest.raises(FloatingPointError, match=text):
        nr.update(**arguments)
    assert_unchanged(before, arguments)
    arguments["params"]["weight_hh_l1"][3, 2] = 0
    arguments["params"]["weight_hh_l1"][9, 2] = np.nan  # a gate's, but told of the whole
    with pytest.raises(FloatingPointError, match=r"got nan at index \(9, 2\)$"):
        nr.update(**arguments | {"penalty": {"weight_hh_l1[*]": penalty}})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1e18, 1e30])
def test_spectral_norm_of_large_and_small_weights(dtype: str, size: float) -> None:
    """The squares of float32 numbers beyond 1e19 are infinite, and those below 1e-23 vanish."""
    w = network("rnn_tanh", 20, 1, False, dtype, seed=36)["weight_hh_l0"]
    w *= np.asarray(size, dtype)
    u, sigma, vt = np.linalg.svd(w.astype(float))
    penalty = nr.SpectralNorm(0.5, tolerance=1e-4)
    value, gradient = penalty.value_and_gradient(w, {})
    assert value == pytest.approx(0.25 * sigma[0] ** 2, rel=1e-5)
    wanted = 0.5 * sigma[0] * np.outer(u[:, 0], vt[0])
    np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-2 * sigma[0])
    params = {"w": w.copy()}
    info = nr.update(params, {"w": np.zeros_like(w)}, rule=nr.SGD(0.0), penalty=penalty)
    assert info.penalty == pytest.approx(value, rel=1e-6)
    np.testing.assert_array_equal(params["w"], w)


def test_a_matrix_is_not_divided_by_groups_of_gates() -> None:
    both = [nr.SoftOrthogonality(0.1), nr.GroupLasso(0.1, groups="gates")]
    text = (
        r"^penalty: expected no penalty of whole matrices for weight_hh_l1 beside groups of gates, "
        r"which divide it, got SoftOrthogonality$"
    )
    for call in (nr.update, reference.update):
        arguments = lstm_problem(penalty={"weight_hh_l1": both})
        before = deepcopy({key: arguments[key] for key in ("params", "grads", "state")})
        with pytest.raises(ValueError, match=text):
            call(**arguments)
        assert_unchanged(before, arguments)


def test_the_norm_of_what_a_cap_leaves_of_much() -> None:
    params = {"w": np.full((4, 3), 1e8), "other": np.ones(2)}
    grads = {name: np.zeros_like(w) for name, w in params.items()}
    info = nr.update(params, grads, rule=nr.SGD(0.1), penalty={"w": nr.SpectralCap(1.0)})
    np.testing.assert_allclose(info.param_norm, np.sqrt(3.0))


@pytest.mark.parametrize("penalty", [nr.SpectralCap(1.0), nr.Prox(nr.NuclearNorm(0.1))])
@pytest.mark.parametrize("gradient", [np.nan, -3e38])
def test_a_matrix_that_the_step_makes_not_finite_has_no_prox(penalty: Any, gradient: float) -> None:
    w, g = np.zeros((2, 3, 3), np.float32)
    w[0, 0], g[0, 0] = 3e38, gradient
    params = {"other": np.ones(3, np.float32), "w": w}
    grads = {"other": np.ones(3, np.float32), "w": g}
    with np.errstate(over="ignore", invalid="ignore"):
        nr.update(params, grads, rule=nr.SGD(1.0), penalty={"w": penalty}, check_finite=False)
    assert not np.isfinite(w[0, 0])
    np.testing.assert_array_equal(params["other"], 0)


def test_parameters_that_are_no_arrays_of_numbers() -> None:
    for penalty in (None, nr.GroupLasso(0.1), nr.L1(0.1, weights=np.ones(1)), nr.NuclearNorm(0.1)):
        with pytest.raises(TypeError, match=r"^params\['w'\]: expected a numpy.ndarray, got list$"):
            nr.update({"w": [[1.0]]}, {"w": np.ones((1, 1))}, rule=nr.SGD(0.1), penalty=penalty)
        half = np.ones((2, 2), np.float16)
        text = r"^params\['w'\]: expected dtype float32 or float64, got float16$"
        with pytest.raises(TypeError, match=text):
            nr.update({"w": half}, {"w": half}, rule=nr.SGD(0.1), penalty=penalty)


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
