"""Penalties and constraints of matrices in whole networks: core and reference."""

from copy import deepcopy
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from networks import DTYPES, RULES, assert_unchanged, gradients_of, lstm_problem, moved, network
from normrnn import _core, reference
from runs import in_float64


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


def test_ctrl_c_while_the_core_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python raises it when the core has returned, its step taken, and before the projection."""
    arguments = lstm_problem(rule=nr.Momentum(0.1), penalty={"weight_hh_l0": nr.SpectralCap(0.1)})
    before = deepcopy({key: arguments[key] for key in ("params", "grads", "state")})
    take_step = _core.update

    def interrupted(*given: Any) -> None:
        take_step(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(_core, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nr.update(**arguments)
    assert_unchanged(before, arguments)
    # Without a step after the core's there is nothing to take back.
    arguments["penalty"] = {"weight_hh_l0": nr.SpectralNorm(0.1)}
    with pytest.raises(KeyboardInterrupt):
        nr.update(**arguments)
    assert arguments["state"]["step"] == 1


def test_what_the_core_refuses_is_not_written_to_either() -> None:
    arguments = lstm_problem(rule=nr.Momentum(0.1), penalty={"weight_hh_l0": nr.SpectralCap(0.1)})
    params, velocity = arguments["params"], arguments["state"]["velocity"]
    params["weight_hh_l0"].flags.writeable = False
    with pytest.raises(ValueError, match=r"^params\['weight_hh_l0'\]: expected a writeable array"):
        nr.update(**arguments)
    params["weight_hh_l0"].flags.writeable = True
    for slot in (None, velocity["weight_hh_l0"].tolist()):
        velocity["weight_hh_l0"] = slot
        with pytest.raises(TypeError, match=r"^state, slot 0 of 'weight_hh_l0': expected a numpy"):
            nr.update(**arguments)
    assert arguments["state"]["step"] == 0


@pytest.mark.parametrize("vectors", [None, "v", {"weight_hh_l0[0]": None}])
def test_vectors_of_somebody_elses(vectors: Any) -> None:
    arguments = lstm_problem(rule=nr.SGD(0.1), penalty={"weight_hh_l0": nr.SpectralCap(0.1)})
    arguments["state"]["vectors"] = vectors
    with pytest.raises(
        TypeError, match=r"^state\['vectors'\]: expected the dict that `update` left"
    ):
        nr.update(**arguments)


def test_no_soft_orthogonality_of_weights_whose_squares_overflow() -> None:
    params = {"w": np.full((2, 2), 1e30, np.float32)}
    grads = {"w": np.zeros((2, 2), np.float32)}
    info = nr.update(params, grads, rule=nr.SGD(0.1), penalty=nr.SoftOrthogonality(0.0))
    assert info.penalty == 0
    assert (params["w"] == np.float32(1e30)).all()


@pytest.mark.parametrize(
    "penalty", [nr.SpectralNorm(2e38), nr.NuclearNorm(2e38), nr.SoftOrthogonality(1e39)]
)
def test_strengths_beyond_float32(penalty: Any) -> None:
    params = network("lstm", 4, 1, False, "float32", seed=22)
    arguments = {"params": params, "grads": gradients_of(params, seed=23), "rule": nr.SGD(0.1)}
    arguments |= {"state": nr.init_state(nr.SGD(0.1), params), "penalty": {"weight_hh_l0": penalty}}
    before = deepcopy({key: arguments[key] for key in ("params", "grads", "state")})
    with pytest.raises(ValueError, match=r"^penalty of weight_hh_l0: expected numbers of at most "):
        nr.update(**arguments)
    assert_unchanged(before, arguments)


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
