"""Choosing λ: λ_max by single steps, paths by optimality, hypergradients by finite differences.

One file, for paths, hypergradients and folds are tested on the same few problems.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import normrnn as nr
from helpers import derivative, derivative_on_one_side
from normrnn import selection
from normrnn.penalties.resolve import inner_of, resolve
from normrnn.selection.lambda_max import holds_at_zero
from normrnn.selection.terms import terms_of
from normrnn.selection.update_derivatives import step_derivative

Params = dict[str, np.ndarray]


class Network:
    """A small network with training and held-out data, in float64."""

    def __init__(self, cell: str = "gru", seed: int = 0, **sizes: int) -> None:
        rng = np.random.default_rng(seed)
        self.cell = cell
        self.params = nr.init_params(cell, 4, 5, output_size=2, dtype="float64", rng=rng, **sizes)
        self.x = rng.standard_normal((2, 7, 3, 4))  # training, held out
        self.target = rng.standard_normal((2, 7, 3, 2))

    def gradient(self, params: Params, part: int = 0) -> tuple[float, Params]:
        out = nr.forward(self.cell, self.x[part], params)
        y = nr.head_forward(out.y, params)
        loss, dy = nr.squared_error(y, self.target[part], reduction="mean")
        dh, head = nr.head_backward(out.y, dy, params)
        return loss, nr.backward(out.tape, dh).params | head


class Lasso:
    """Linear regression y = x w + noise with four true weights out of thirty; loss is the mean."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.true = np.zeros(30)
        self.true[[2, 7, 11, 23]] = [1.5, -2.0, 1.0, 0.8]
        self.x = rng.standard_normal((2, 80, 30))
        self.y = self.x @ self.true + 0.5 * rng.standard_normal((2, 80))

    def gradient(self, params: Params) -> tuple[float, Params]:
        error = self.x[0] @ params["weight"] - self.y[0]
        return float(np.mean(error**2)), {"weight": 2 * self.x[0].T @ error / len(error)}

    def losses(self, params: Params, part: int = 1) -> np.ndarray:
        return (self.x[part] @ params["weight"] - self.y[part]) ** 2


# λ_max


PENALTIES = [
    nr.L1(1.0),
    nr.Prox(nr.L1(0.3)),
    nr.ElasticNet(0.5, 2.0),
    nr.Prox(nr.ElasticNet(2.0, 0.1)),
    {"weight_ih_*": nr.L1(0.2), "bias_*": nr.L1(3.0)},
    {"weight_hh_l1": nr.ElasticNet(0.2, 1.0), "*_l0": nr.L1(0.5)},
    {"weight_hh_l1": nr.L1(0.5, weights=np.linspace(0.5, 2.0, 5)), "weight_hy": nr.L2(1.0)},
    nr.GroupLasso(0.5),
    nr.GroupLasso(0.5, groups="columns"),
    nr.Prox(nr.GroupLasso(0.5, groups="matrix")),
    nr.GroupLasso(2.0, groups="gates"),
    nr.SparseGroupLasso(0.2, 0.3, groups="columns"),
    nr.SparseGroupLasso(0.0, 0.3, groups="columns", weights=np.arange(1.0, 6.0)),
    nr.NuclearNorm(0.5),
    {"*": nr.GroupLasso(0.5, groups="outgoing")},
    {"*": nr.SparseGroupLasso(0.5, 0.1, groups="outgoing")},
    {"weight_ih_l1": nr.GroupLasso(0.5, groups="columns"), "weight_hh_l1": nr.L1(0.1)},
]


def scaled(penalty: Any, factor: float) -> Any:
    """The penalty times a factor, as an exact prox."""
    if isinstance(penalty, dict):
        return {pattern: scaled(one, factor) for pattern, one in penalty.items()}
    inner = penalty.penalty if isinstance(penalty, nr.Prox) else penalty
    strengths = {f.name: getattr(inner, f.name) for f in fields(inner)}
    strengths = {k: v * factor for k, v in strengths.items() if isinstance(v, float)}
    return inner if isinstance(inner, nr.L2) else nr.Prox(replace(inner, **strengths))


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_a_step_from_zero_stays_above_lambda_max_and_leaves_below(cell: str, penalty: Any) -> None:
    network = Network(cell, num_layers=2)
    params = network.params
    if not isinstance(penalty, dict):  # with every matrix at zero no gradient is left
        penalty = {"weight_ih_l1": penalty}
    terms = [term for term in terms_of(penalty, params).all if holds_at_zero(term.penalty)]
    penalised = {term.piece.name for term in terms}
    for name in penalised:
        params[name][:] = 0
    _, grads = network.gradient(params)
    largest = nr.selection.lambda_max(params, grads, penalty)
    assert largest > 0
    for factor, stays in ((1 + 1e-9, True), (1 - 1e-9, False)):
        for lr in (1e-3, 10.0):
            moved = {name: w.copy() for name, w in params.items()}
            nr.update(moved, grads, rule=nr.SGD(lr), penalty=scaled(penalty, factor * largest))
            assert stays != any(moved[name].any() for name in penalised)


@pytest.mark.parametrize(
    ("params", "grads", "penalty", "error", "message"),
    [
        ([1.0], [1.0], nr.L1(1.0), ValueError, "weight: expected only zeros, where λ_max is"),
        ([0.0], [1.0], nr.L2(1.0), ValueError, "penalty: expected one that can hold weights at"),
        (
            [0.0],
            [1.0],
            nr.L1(0.0),
            ValueError,
            "penalty: expected strengths > 0 for λ_max, got 0.0",
        ),
        (
            [0.0],
            [1.0],
            None,
            ValueError,
            "penalty: expected one that can hold weights",
        ),
        ([0.0], [1.0, 2.0], nr.L1(1.0), ValueError, "grads['weight']: expected shape (1,), got"),
        ([0.0], [np.nan], nr.L1(1.0), ValueError, "grads['weight']: expected finite numbers, got"),
        (
            [0.0],
            [1.0],
            nr.L1(1.0, weights=np.zeros(1)),
            ValueError,
            "weights: expected a factor > 0 for λ_max, got only 0.0",
        ),
        (
            [0.0],
            [1.0],
            nr.GroupLasso(0.0),
            ValueError,
            "penalty: expected strengths > 0 for λ_max, got 0.0",
        ),
    ],
)
def test_lambda_max_errors(
    params: list[float], grads: list[float], penalty: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        nr.selection.lambda_max({"weight": np.array(params)}, {"weight": np.array(grads)}, penalty)


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (nr.L1(0.5, weights=np.array([0.0, 2.0])), 3.0),
        (nr.ElasticNet(0.5, 1.0, weights=np.array([0.0, 2.0])), 3.0),
        (nr.GroupLasso(0.5, "columns", weights=np.array([0.0, 1.0])), 2 * np.sqrt(10)),
        (nr.SparseGroupLasso(0.0, 0.5, "columns", weights=np.array([0.0, 1.0])), 2 * np.sqrt(10)),
    ],
    ids=str,
)
def test_lambda_max_of_what_no_lambda_holds(penalty: Any, expected: float) -> None:
    """A factor of 0 in the first column: where those weights are does not count."""
    w, g = np.array([[5.0, 0.0], [5.0, 0.0]]), np.array([[9.0, 1.0], [9.0, 3.0]])
    found = nr.selection.lambda_max({"w": w}, {"w": g}, penalty)
    assert found == pytest.approx(expected, rel=1e-12)


def test_lambda_max_where_one_part_of_a_penalty_holds() -> None:
    w, g = np.zeros((2, 2)), np.array([[9.0, 1.0], [9.0, 3.0]])
    penalty = nr.SparseGroupLasso(0.5, 0.5, "columns", weights=np.array([0.0, 1.0]))
    found = nr.selection.lambda_max({"w": w}, {"w": g}, penalty)
    assert found == pytest.approx(18.0, rel=1e-12)  # of the first column, by l1 alone
    gates = {"weight_ih_l0": np.zeros((6, 1)), "weight_hh_l0": np.zeros((6, 2))}
    gates["weight_hh_l0"][:2] = 5.0
    grads = {"weight_ih_l0": np.ones((6, 1)), "weight_hh_l0": np.arange(12.0).reshape(6, 2)}
    nuclear = nr.NuclearNorm(1.0, weights=np.array([0.0, 1.0, 1.0]))
    found = nr.selection.lambda_max(gates, grads, {"weight_hh_l0[*]": nuclear})
    assert found == pytest.approx(np.linalg.norm(grads["weight_hh_l0"][4:], 2), rel=1e-12)


def test_lambda_max_wants_arrays() -> None:
    with pytest.raises(TypeError, match=re.escape("grads['w']: expected an ndarray, got list")):
        nr.selection.lambda_max({"w": np.zeros(1)}, {"w": [1.0]}, nr.L1(1.0))


def test_lambda_max_wants_the_same_names() -> None:
    with pytest.raises(ValueError, match=re.escape("grads: expected the names of params, got a")):
        nr.selection.lambda_max({"weight": np.zeros(1)}, {}, nr.L1(1.0))


# Paths

PLAIN = nr.SGD(0.1)


def lasso_path(
    problem: Lasso, lambdas: Any, rule: Any = PLAIN, **options: Any
) -> nr.selection.Path:
    fit = nr.selection.trainer(problem.gradient, rule, 3000, tol=1e-13)
    return nr.path(
        fit,
        {"weight": np.zeros(30)},
        lambda strength: nr.Prox(nr.L1(strength)),
        lambdas,
        validation_loss=problem.losses,
        train_loss=lambda params: problem.gradient(params)[0],
        **options,
    )


@pytest.mark.parametrize(
    "rule", [PLAIN, nr.Momentum(0.02, 0.8), nr.Momentum(0.02, 0.8, nesterov=True)], ids=repr
)
def test_path_is_optimal_everywhere_and_finds_the_support(rule: Any) -> None:
    """A velocity needs some steps to leave zero, and must be given them."""
    problem = Lasso()
    zero = {"weight": np.zeros(30)}
    largest = nr.selection.lambda_max(zero, problem.gradient(zero)[1], nr.L1(1.0))
    result = lasso_path(problem, np.geomspace(1, 1e-3, 16) * largest, rule)
    for strength, params in zip(result.lambdas, result.params, strict=True):
        w, g = params["weight"], problem.gradient(params)[1]["weight"]
        # Karush, Kuhn and Tucker: 0 ∈ g + λ ∂‖w‖₁.
        np.testing.assert_allclose(g[w != 0], -strength * np.sign(w[w != 0]), atol=1e-9)
        assert np.abs(g[w == 0]).max(initial=0) <= strength + 1e-9
    assert result.nonzero[0] == 0
    assert result.nonzero[1] > 0
    assert result.nonzero[-1] == 30
    assert (np.diff(result.train_loss) < 1e-12).all()
    assert 0 < result.best < 15
    chosen = result.one_standard_error
    assert chosen <= result.best
    assert set(np.flatnonzero(result.params[chosen]["weight"])) >= {2, 7, 11, 23}
    assert result.nonzero[chosen] <= 6


def test_path_on_a_network_finds_the_inputs_that_matter() -> None:
    """A tanh network whose teacher sees two inputs of eight; L1 on the student's U alone."""
    rng = np.random.default_rng(1)
    teacher = nr.init_params("rnn_tanh", 8, 6, output_size=1, dtype="float64", rng=rng)
    true = [1, 5]
    teacher["weight_ih_l0"][:, [k for k in range(8) if k not in true]] = 0
    teacher["weight_hy"] *= 5
    x = rng.standard_normal((2, 20, 16, 8))
    y = [nr.head_forward(nr.forward("rnn_tanh", part, teacher).y, teacher) for part in x]
    target = np.stack(y) + 0.1 * rng.standard_normal((2, 20, 16, 1))

    def predict(params: Params, part: int) -> tuple[Any, np.ndarray]:
        out = nr.forward("rnn_tanh", x[part], params)
        return out, nr.head_forward(out.y, params)

    def gradient(params: Params) -> tuple[float, Params]:
        out, prediction = predict(params, 0)
        loss, dy = nr.squared_error(prediction, target[0], reduction="mean")
        dh, head = nr.head_backward(out.y, dy, params)
        return loss, nr.backward(out.tape, dh).params | head

    def held_out(params: Params) -> np.ndarray:  # of each sequence
        return ((predict(params, 1)[1] - target[1]) ** 2).mean(axis=(0, 2))

    def penalty(strength: float) -> Any:
        # Without L2 on the rest, a large W_hy would make up for a small U.
        return {"weight_ih_*": nr.Prox(nr.L1(strength)), "weight_*": nr.L2(1e-3)}

    # From a dense network to sparse ones: what is not convex need not come back from zero.
    start = nr.init_params("rnn_tanh", 8, 6, output_size=1, dtype="float64", rng=2)
    fit = nr.selection.trainer(gradient, nr.Adam(0.01), 150)
    result = nr.path(fit, start, penalty, np.geomspace(1e-3, 1, 10), validation_loss=held_out)
    supports = [np.flatnonzero(p["weight_ih_l0"].any(axis=0)).tolist() for p in result.params]
    assert supports[0] == list(range(8))
    exact = supports.index(true)
    assert all(support == true for support in supports[exact:])
    nothing = np.mean((target[1] - target[0].mean()) ** 2)
    assert result.validation_loss[exact] < 0.1 * nothing  # the noise alone is 0.01
    assert set(supports[result.one_standard_error]) > set(true)  # a lasso keeps some too many
    assert np.count_nonzero(result.params[exact]["weight_ih_l0"]) == result.nonzero[exact] <= 12


def test_held_out_losses_never_include_the_penalty() -> None:
    """The same network at every λ has the same held-out loss, whatever the penalty is."""
    problem, w = Lasso(), {"weight": np.ones(30)}
    expected = problem.losses(w).mean()
    result = nr.path(
        lambda params, penalty: params,
        w,
        lambda strength: nr.L2(strength),
        [1e6, 1.0, 0.0],
        validation_loss=problem.losses,
        train_loss=lambda params: problem.gradient(params)[0],
    )
    assert result.validation_loss.tolist() == [expected] * 3
    assert result.train_loss.tolist() == [problem.gradient(w)[0]] * 3
    series, target = np.ones((24, 1, 2)), np.zeros((24, 1, 1))
    crossed = nr.selection.cross_validate(
        lambda x, y, strength, model: w,
        lambda model, x, y, window: float(np.mean(problem.losses(model))),
        series,
        target,
        [1e6, 1.0, 0.0],
    )
    assert (crossed.fold_loss == expected).all()


def test_path_begins_each_lambda_where_the_last_ended() -> None:
    seen: list[float] = []

    def fit(params: Params, penalty: Any) -> Params:
        seen.append(params["weight"].item())
        params["weight"] += 1  # in place
        return params

    def held_out(params: Params) -> float:
        value = params["weight"].item()
        params["weight"][:] = 99  # must not reach what comes next
        return value

    start = {"weight": np.zeros(1)}
    result = nr.path(fit, start, nr.L2, [3.0, 2.0, 1.0], validation_loss=held_out)
    assert seen == [0.0, 1.0, 2.0]
    assert result.validation_loss.tolist() == [1.0, 2.0, 3.0]
    assert [p["weight"].item() for p in result.params] == [1.0, 2.0, 3.0]
    assert np.isnan(result.train_loss).all()
    assert start["weight"].item() == 0
    lean = nr.path(fit, start, nr.L2, [1.0], validation_loss=held_out, keep_params=False)
    assert lean.params is None


def test_choices() -> None:
    nan = np.nan
    loss, error = np.array([5.0, 3.0, 2.0, nan, 2.5]), np.array([1.0, 1.0, 1.0, nan, 0.1])
    common = {"train_loss": loss, "nonzero": np.zeros(5, np.int64), "params": None}
    lambdas = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    result = selection.Path(lambdas=lambdas, validation_loss=loss, standard_error=error, **common)
    assert (result.best, result.one_standard_error) == (2, 1)
    rising = replace(
        result,
        lambdas=lambdas[::-1].copy(),
        validation_loss=loss[::-1].copy(),
        standard_error=error[::-1].copy(),
    )
    assert (rising.best, rising.one_standard_error) == (2, 3)
    with pytest.raises(ValueError, match="standard_error: expected at least two held-out losses"):
        _ = replace(result, standard_error=np.full(5, nan)).one_standard_error
    with pytest.raises(ValueError, match="validation_loss: expected a number that is not NaN"):
        _ = replace(result, validation_loss=np.full(5, nan)).best


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lambdas": [1.0, -1.0]}, ValueError, "lambdas: expected finite numbers >= 0, got -1.0"),
        ({"lambdas": [np.nan]}, ValueError, "lambdas: expected finite numbers >= 0, got nan"),
        ({"lambdas": 1.0}, ValueError, "lambdas: expected shape (N,) with N >= 1, got ()"),
        ({"fit": lambda p, r: None}, ValueError, "fit: expected it to return parameters"),
        ({"fit": lambda p, r: {}}, ValueError, "fit: expected it to return parameters ['weight']"),
        (
            {"validation_loss": lambda p: []},
            ValueError,
            "validation_loss: expected at least one number, got none",
        ),
        ({"lambdas": "ab"}, TypeError, "lambdas: expected numbers, got 'ab'"),
        ({"penalty": nr.L1(0.1)}, TypeError, "penalty: expected a callable, got L1"),
        ({"params": np.zeros(1)}, TypeError, "params: expected a mapping, got ndarray"),
        ({"train_loss": 1.0}, TypeError, "train_loss: expected a callable, got float"),
        (
            {"train_loss": lambda p: [1.0, 2.0]},
            ValueError,
            "train_loss: expected one number, got shape (2,)",
        ),
        (
            {"validation_loss": lambda p: "low"},
            TypeError,
            "validation_loss: expected numbers, got 'low'",
        ),
        (
            {"validation_loss": lambda p: None, "lambdas": [2.0, 1.0]},
            TypeError,
            "validation_loss: expected numbers, got None",
        ),
    ],
)
def test_path_errors(change: dict[str, Any], error: type[Exception], message: str) -> None:
    good = {
        "fit": lambda params, penalty: params,
        "params": {"weight": np.zeros(1)},
        "penalty": nr.L2,
        "lambdas": [1.0],
        "validation_loss": lambda params: 0.0,
    }
    with pytest.raises(error, match=re.escape(message)):
        nr.path(**(good | change))


def test_training_ends_where_a_rule_is_at_rest() -> None:
    """AdamW weighs λ against a gradient of about 1, so that zero is held here whatever its size."""
    calls = []

    def gradient(params: Params) -> tuple[float, Params]:
        calls.append(None)
        return 0.0, {"weight": params["weight"] - 1000}

    fit = nr.selection.trainer(gradient, nr.AdamW(0.1), 50)
    assert fit({"weight": np.zeros(1)}, nr.Prox(nr.L1(2.0)))["weight"] == 0
    assert len(calls) == 1


def test_trainer_errors() -> None:
    gradient = Lasso().gradient
    with pytest.raises(TypeError, match="rule: expected a rule such as"):
        nr.selection.trainer(gradient, 0.1, 10)
    with pytest.raises(TypeError, match="steps: expected an integer >= 1, got float"):
        nr.selection.trainer(gradient, nr.SGD(0.1), 1.5)
    with pytest.raises(ValueError, match="steps: expected an integer >= 1, got 0"):
        nr.selection.trainer(gradient, nr.SGD(0.1), 0)
    with pytest.raises(ValueError, match="tol: expected a finite number >= 0"):
        nr.selection.trainer(gradient, nr.SGD(0.1), 1, tol=-1.0)
    with pytest.raises(TypeError, match="gradient: expected a callable, got NoneType"):
        nr.selection.trainer(None, nr.SGD(0.1), 1)
    with pytest.raises(ValueError, match="clip_norm: expected a finite number > 0, got -1"):
        nr.selection.trainer(gradient, nr.SGD(0.1), 1, clip_norm=-1.0)


# Hypergradients


RULES = [
    nr.SGD(0.05),
    nr.Momentum(0.05),
    nr.Momentum(0.05, nesterov=True),
    nr.Adam(0.02),
    nr.Adam(0.02, eps=0.1),
    nr.AdamW(0.02),
]


def penalties(center: Params) -> list[Any]:
    return [
        nr.L2(0.3),
        nr.L2(0.3, center=center),
        nr.L1(0.1),
        nr.ElasticNet(0.1, 0.2),
        nr.Prox(nr.L1(0.1)),
        nr.Prox(nr.L2(0.3)),
        nr.Prox(nr.L2(0.3, center=center)),
        nr.Prox(nr.ElasticNet(0.2, 0.3)),
        {
            "weight_hh_l0": nr.ElasticNet(0.1, 0.2),
            "weight_hh_*": nr.Prox(nr.L1(0.3)),
            "bias_*": nr.L2(0.1),
            "weight_ih_l1": None,
            "weight_*": nr.Prox(nr.ElasticNet(0.1, 0.2)),
        },
        nr.GroupLasso(0.1),
        nr.GroupLasso(0.1, groups="outgoing"),
        nr.Prox(nr.GroupLasso(0.1, groups="outgoing")),
        nr.Prox(nr.GroupLasso(0.3, groups="columns")),
        nr.Prox(nr.GroupLasso(0.3, groups="gates")),
        {"weight_h*[1y]": nr.SparseGroupLasso(0.1, 0.2, groups="outgoing")},
        [nr.L2(0.3), nr.GroupLasso(0.1)],
        {
            "weight_hh_*[z]": nr.L2(0.3, center=center),
            "weight_hh_*": nr.Prox(nr.L1(0.2, weights=np.arange(1.0, 6.0))),
            "weight_ih_*[*]": nr.Prox(nr.GroupLasso(0.2)),
            "weight_*": [nr.SoftOrthogonality(0.1), nr.L1(lambda step: 0.1 * step)],
        },
        {"weight_hh_*": nr.Prox(nr.GroupLasso(0.3, "gates", weights=np.arange(1.0, 4.0)))},
        {
            "weight_h*[1y]": nr.GroupLasso(
                0.1, "outgoing", weights={"weight_hh_l1": np.arange(1.0, 6.0)}
            )
        },
        {"weight_h*[1y]": nr.Prox(nr.SparseGroupLasso(0.1, 0.2, groups="outgoing"))},
        nr.Prox(nr.SparseGroupLasso(0.1, 0.2, groups="rows")),
        {  # constraints, which have no λ
            "weight_hh_l0": nr.MaxNorm(0.3),
            "weight_hh_l1": nr.SpectralCap(0.5),
            "weight_hy": nr.NonNegative(),
            "weight_ih_l0[*]": nr.NuclearNorm(0.1, weights=np.arange(1.0, 4.0)),
            "weight_*": nr.Prox(nr.L2(0.3)),
        },
    ]


def with_strength(penalty: Any, pattern: str, strength: str, change: float) -> Any:
    """The penalty with one λ changed."""
    if isinstance(penalty, dict):
        return penalty | {pattern: with_strength(penalty[pattern], pattern, strength, change)}
    if isinstance(penalty, list):
        return [with_strength(one, pattern, strength, change) for one in penalty]
    inner = inner_of(penalty)
    name, field = strength.split(".")
    if type(inner).__name__ != name:
        return penalty
    value = getattr(inner, field)
    if callable(value):
        inner = replace(inner, **{field: lambda step: value(step) + change})
    else:
        inner = replace(inner, **{field: value + change})
    return nr.Prox(inner) if isinstance(penalty, nr.Prox) else inner


@pytest.mark.parametrize("kind", range(len(penalties({}))))
@pytest.mark.parametrize("clip_norm", [None, 0.05])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_hypergradient_is_the_held_out_losss_derivative(
    rule: nr.rules.Rule, clip_norm: float | None, kind: int
) -> None:
    network = Network("gru", seed=3, num_layers=2)
    params, state = network.params, nr.init_state(rule, network.params)
    penalty = penalties({name: w + 0.1 for name, w in params.items()})[kind]
    options = {"rule": rule, "clip_norm": clip_norm}
    for _ in range(2):  # slots that are not zero
        nr.update(params, network.gradient(params)[1], state, penalty=penalty, **options)
    _, grads = network.gradient(params)

    def updated(penalty: Any) -> Params:
        weights = {name: w.copy() for name, w in params.items()}
        slots = {k: {n: w.copy() for n, w in state[k].items()} for k in rule.slots}
        nr.update(weights, grads, slots | {"step": state["step"]}, penalty=penalty, **options)
        return weights

    terms = [one for piece in resolve(penalty, params) for one in piece.terms]
    proxes = [one.penalty for one in terms if isinstance(one, nr.Prox)]
    sparse = any(isinstance(one, nr.SparseGroupLasso) for one in proxes)
    if sparse and not rule.uniform_step:
        text = (
            r"^rule: expected one with the same step size for all weights for "
            r"Prox\(SparseGroupLasso\), such as SGD or AdamW, got Adam$"
        )
        with pytest.raises(ValueError, match=text):
            selection.sensitivity(params, grads, state, penalty=penalty, **options)
        return
    moved = selection.sensitivity(params, grads, state, penalty=penalty, **options)
    slopes = selection.hypergradient(moved, network.gradient(updated(penalty), part=1)[1])
    assert slopes
    for (pattern, strength), slope in slopes.items():

        def held_out(
            change: float, pattern: str = pattern, strength: str = strength
        ) -> tuple[float, np.ndarray]:
            weights = updated(with_strength(penalty, pattern, strength, change))
            # Only a prox has kinks, where a weight becomes zero.
            signs = [
                np.sign(t.of(weights)).ravel() for t in terms_of(penalty, params).all if t.prox
            ]
            return network.gradient(weights, part=1)[0], np.concatenate([[0.0], *signs])

        expected = derivative(lambda step: held_out(step)[0], 1e-5)
        if proxes:
            expected = derivative_on_one_side(held_out)
        assert expected is not None
        # Where a kink is near, differences over 1e-7 lose half the digits of a loss near 1.
        assert slope == pytest.approx(expected, rel=1e-6, abs=1e-8), (pattern, strength)
    names = {p for p, _ in slopes}
    if not isinstance(penalty, dict):
        assert names == {"*"}
        return
    free = {p for p, one in penalty.items() if getattr(one, "constraint", False)}
    assert names == set(penalty) - {"weight_ih_l1"} - free


def test_l2_under_sgd_is_minus_two_alpha_inner_product() -> None:
    network = Network()
    params = network.params
    _, grads = network.gradient(params)
    before = {name: w.copy() for name, w in params.items()}
    rule, penalty = nr.SGD(0.05), nr.L2(0.1)
    moved = selection.sensitivity(params, grads, rule=rule, penalty=penalty)
    nr.update(params, grads, rule=rule, penalty=penalty)
    _, held_out = network.gradient(params, part=1)
    weights = [name for name in params if "bias" not in name]
    expected = -2 * 0.05 * sum(np.sum(held_out[name] * before[name]) for name in weights)
    slope = selection.hypergradient(moved, held_out)["*", "L2.strength"]
    assert slope == pytest.approx(expected, rel=1e-12)


def test_adam_at_its_first_step_without_a_gradient() -> None:
    """g = m = v = 0, where √v̂ has its kink: finite, and α/ε as the symmetric derivative."""
    rule, w = nr.Adam(0.1, eps=0.5), {"weight": np.zeros(3)}
    moved = selection.sensitivity(
        w, w, nr.init_state(rule, w), rule=rule, penalty=nr.L2(1.0, center=np.ones(3) * 0)
    )
    assert (moved["*", "L2.strength"]["weight"] == 0).all()
    slots = {"exp_avg": np.zeros(3), "exp_avg_sq": np.zeros(3)}
    np.testing.assert_allclose(step_derivative(rule, slots, slots, 1), 0.1 / 0.5)


def test_log_steps_on_lambda_lower_the_held_out_loss() -> None:
    """Few noisy data: from far too small a λ, steps along hypergradients come near the best one."""
    problem = Lasso()
    problem.x, problem.y = problem.x[:, :40], problem.y[:, :40]

    def held_out(params: Params) -> float:
        return float(problem.losses(params).mean())

    def train(strength: float, rate: float) -> tuple[Params, float]:
        params, penalty = {"weight": np.zeros(30)}, nr.Prox(nr.L1(strength))
        rule = nr.SGD(0.05)
        for _ in range(1000):
            _, grads = problem.gradient(params)
            moved = selection.sensitivity(params, grads, rule=rule, penalty=penalty)
            nr.update(params, grads, rule=rule, penalty=penalty)
            error = problem.x[1] @ params["weight"] - problem.y[1]
            of_held_out = {"weight": 2 * problem.x[1].T @ error / len(error)}
            slopes = selection.hypergradient(moved, of_held_out)
            penalty = selection.log_step(penalty, slopes, rate)
        return params, penalty.penalty.strength

    fixed, _ = train(0.01, 0.0)
    tuned, strength = train(0.01, 2.0)
    grid = lasso_path(problem, np.geomspace(3, 1e-2, 20))
    best = grid.validation_loss.min()
    assert held_out(fixed) > 1.3 * best
    assert held_out(tuned) < 1.05 * best
    assert 0.2 < strength / grid.lambdas[grid.best] < 5


def test_log_step() -> None:
    penalty = {"weight_a": nr.ElasticNet(2.0, 3.0), "weight_b": nr.Prox(nr.L2(1.0)), "bias": None}
    slopes = {
        ("weight_a", "ElasticNet.l1"): 0.01,
        ("weight_a", "ElasticNet.l2"): -100.0,
        ("weight_b", "L2.strength"): 0.0,
    }
    stepped = selection.log_step(penalty, slopes, rate=0.5, limit=0.25)
    assert stepped["weight_a"].l1 == pytest.approx(2 * np.exp(-0.5 * 2 * 0.01))
    assert stepped["weight_a"].l2 == pytest.approx(3 * np.exp(0.25))
    assert stepped["weight_b"] == nr.Prox(nr.L2(1.0))
    assert stepped["bias"] is None
    assert penalty["weight_a"] == nr.ElasticNet(2.0, 3.0)
    assert selection.log_step(nr.L1(0.0), {("*", "L1.strength"): 1.0}, 1.0) == nr.L1(0.0)


TWINS = [nr.SpectralNorm(0.1), nr.Prox(nr.SpectralNorm(0.3))]
ONE_OF_A_CLASS = (
    "expected at most one SpectralNorm to choose λ for, got 2; make them one, or give each a "
    "pattern of its own"
)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda p: selection.sensitivity(p, {}, rule=nr.SGD(0.1), penalty=nr.L2(1.0)),
            ValueError,
            "grads: expected the names of params, got a difference in ['weight']",
        ),
        (
            lambda p: selection.sensitivity(p, p, rule=nr.Adam(), penalty=nr.L2(1.0)),
            TypeError,
            "state: expected the dict of init_state for Adam, got None",
        ),
        (
            lambda p: selection.sensitivity(p, p, rule=0.1, penalty=nr.L2(1.0)),
            TypeError,
            "rule: expected a rule such as SGD(0.1), got float",
        ),
        (
            lambda p: selection.sensitivity(
                p, p, rule=nr.SGD(0.1), penalty=[nr.L2(0.1), nr.MaxNorm(1.0)]
            ),
            TypeError,
            "penalty: expected for weight a Prox whose derivative is known, of L1, L2, ElasticNet",
        ),
        (
            lambda p: selection.sensitivity(
                p, p, rule=nr.SGD(0.1), penalty=[nr.L2(1.0), nr.Prox(nr.GroupLasso(1.0))]
            ),
            ValueError,
            "penalty: expected no other penalty of weight beside its Prox, got one",
        ),
        (
            lambda p: selection.log_step(nr.L1(lambda step: 1.0), {("*", "L1.strength"): 1.0}, 1.0),
            ValueError,
            "strength: expected a number (see at), got a function of the step",
        ),
        (
            lambda p: selection.sensitivity(p, p, rule=nr.SGD(0.1), penalty=TWINS),
            ValueError,
            f"penalty: {ONE_OF_A_CLASS}",
        ),
        (
            lambda p: selection.log_step({"w*": TWINS}, {}, 1.0),
            ValueError,
            f"penalty['w*']: {ONE_OF_A_CLASS}",
        ),
        (
            lambda p: selection.hypergradient({("*", "L2.strength"): p}, {"weight": [1.0, 2.0]}),
            TypeError,
            "validation_grads['weight']: expected an ndarray, got list",
        ),
        *(
            (
                lambda p, slope=slope: selection.log_step(
                    nr.L2(1.0), {("*", "L2.strength"): slope}, 1.0
                ),
                TypeError,
                f"slopes[('*', 'L2.strength')]: expected a finite number, got {got}",
            )
            for slope, got in (("1", "str"), (np.ones(1), "ndarray"))
        ),
        (
            lambda p: selection.log_step("L1", {}, 1.0),
            TypeError,
            "penalty: expected a penalty, got str",
        ),
        (
            lambda p: selection.hypergradient({("*", "L2.strength"): p}, {}),
            ValueError,
            "validation_grads: expected 'weight', got none",
        ),
        (
            lambda p: selection.hypergradient({("*", "L2.strength"): p}, {"weight": np.ones(3)}),
            ValueError,
            "validation_grads['weight']: expected shape (2,), got (3,)",
        ),
        (
            lambda p: selection.log_step(nr.L2(1.0), {("*", "L1.strength"): 1.0}, 1.0),
            ValueError,
            "slopes: expected strengths of the penalty, got [('*', 'L1.strength')]",
        ),
        (
            lambda p: selection.log_step(nr.L2(1.0), {("*", "L2.strength"): np.inf}, 1.0),
            ValueError,
            "slopes[('*', 'L2.strength')]: expected a finite number, got inf",
        ),
        (
            lambda p: selection.log_step(nr.L2(1.0), {}, -1.0),
            ValueError,
            "rate: expected a finite number >= 0, got -1.0",
        ),
    ],
)
def test_hypergradient_errors(
    call: Callable[[Params], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call({"weight": np.ones(2)})


def test_a_log_step_beside_constraints() -> None:
    params = {"weight": np.array([3.0, -1.0]), "weight_hy": np.array([[2.0, 5.0]])}
    grads = {name: np.full_like(w, 0.5) for name, w in params.items()}
    rule = nr.SGD(0.1)
    penalty = {"weight": nr.L2(0.2), "weight_hy": nr.MaxNorm(1.0)}
    moved = selection.sensitivity(params, grads, rule=rule, penalty=penalty)
    assert moved.keys() == {("weight", "L2.strength")}
    np.testing.assert_allclose(moved["weight", "L2.strength"]["weight"], [-0.6, 0.2])
    stepped = selection.log_step(penalty, selection.hypergradient(moved, grads), 1.0)
    assert stepped["weight_hy"] == nr.MaxNorm(1.0)
    assert stepped["weight"].strength > 0.2
    assert selection.sensitivity(params, grads, rule=rule, penalty=nr.MaxNorm(1.0)) == {}


# Cross-validation in time


def windows(*arguments: Any, **options: Any) -> list[tuple[int, int, int, int]]:
    slices = selection.expanding_window(*arguments, **options)
    return [(a.start, a.stop, b.start, b.stop) for a, b in slices]


def test_windows_are_those_of_time_series_split() -> None:
    """As sklearn.model_selection.TimeSeriesSplit divides them, version 1.5."""
    assert windows(6, 5) == [(0, k, k, k + 1) for k in range(1, 6)]
    assert windows(12, 3, test_size=2) == [(0, 6, 6, 8), (0, 8, 8, 10), (0, 10, 10, 12)]
    assert windows(12, 3, test_size=2, gap=2) == [(0, 4, 6, 8), (0, 6, 8, 10), (0, 8, 10, 12)]
    assert windows(11, 2) == [(0, 5, 5, 8), (0, 8, 8, 11)]


@given(steps=st.integers(1, 60), folds=st.integers(1, 6), gap=st.integers(0, 4), data=st.data())
def test_windows_respect_time(steps: int, folds: int, gap: int, data: st.DataObject) -> None:
    size = data.draw(st.none() | st.integers(1, 9))
    if folds * (size or max(1, steps // (folds + 1))) + gap + 1 > steps:
        with pytest.raises(ValueError, match="steps: expected some to train on"):
            windows(steps, folds, gap=gap, test_size=size)
        return
    found = windows(steps, folds, gap=gap, test_size=size)
    assert len(found) == folds
    assert found[-1][3] == steps
    for begin, end, first, last in found:
        assert begin == 0 < end
        assert first == end + gap
        assert last - first == (size or steps // (folds + 1))
    assert all(a[3] == b[2] for a, b in pairwise(found))


@pytest.mark.parametrize("axis", [0, 1])
def test_nothing_from_the_future_is_seen(axis: int) -> None:
    rng = np.random.default_rng(0)
    shape = (20, 3, 2) if axis == 0 else (3, 20, 2)
    x = rng.standard_normal(shape)
    y = np.moveaxis(np.broadcast_to(np.arange(20.0), (3, 2, 20)), -1, axis)
    calls: list[Any] = []

    def fit(x: Any, y: Any, strength: float, model: Any) -> Any:
        calls.append(("fit", x.shape[axis], float(y.max()), strength, model))
        return (strength, x.shape[axis])

    def score(model: Any, x: Any, y: Any, window: slice) -> float:
        calls.append(("score", x.shape[axis], float(y.max()), window))
        return model[0] + 100 * window.start

    result = selection.cross_validate(
        fit, score, x, y, [2.0, 1.0], folds=2, gap=1, test_size=4, axis=axis
    )
    assert calls == [
        ("fit", 11, 10.0, 2.0, None),
        ("score", 16, 15.0, slice(12, 16)),
        ("fit", 11, 10.0, 1.0, (2.0, 11)),
        ("score", 16, 15.0, slice(12, 16)),
        ("fit", 15, 14.0, 2.0, None),
        ("score", 20, 19.0, slice(16, 20)),
        ("fit", 15, 14.0, 1.0, (2.0, 15)),
        ("score", 20, 19.0, slice(16, 20)),
    ]
    np.testing.assert_array_equal(result.fold_loss, [[1202, 1201], [1602, 1601]])
    np.testing.assert_array_equal(result.validation_loss, [1402, 1401])
    np.testing.assert_allclose(result.standard_error, [200, 200])
    assert (result.best, result.one_standard_error) == (1, 0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": [1.0]}, TypeError, "x: expected an ndarray, got list"),
        ({"y": np.ones(11)}, ValueError, "y: expected 12 steps as in x along axis 0, got 11"),
        ({"axis": 2}, ValueError, "axis: expected 0 or 1, got 2"),
        ({"axis": 1}, ValueError, "x: expected at least 2 dimensions, got shape (12,)"),
        ({"lambdas": []}, ValueError, "lambdas: expected shape (N,) with N >= 1, got (0,)"),
        ({"folds": 0}, ValueError, "folds: expected an integer >= 1, got 0"),
        ({"folds": 1.5}, TypeError, "folds: expected an integer >= 1, got float"),
        ({"gap": -1}, ValueError, "gap: expected an integer >= 0, got -1"),
        ({"test_size": 0}, ValueError, "test_size: expected an integer >= 1, got 0"),
        (
            {"folds": 3, "gap": 3},
            ValueError,
            "steps: expected some to train on before 3 windows of 3 and a gap of 3, got 12",
        ),
        ({"score": None}, TypeError, "score: expected a callable, got NoneType"),
        ({"score": lambda *_: "low"}, TypeError, "score: expected numbers, got 'low'"),
        ({"score": lambda *_: None}, TypeError, "score: expected numbers, got None"),
        ({"score": lambda *_: [None]}, TypeError, "score: expected numbers, got [None]"),
    ],
)
def test_cross_validate_errors(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    good = {
        "fit": lambda x, y, strength, model: None,
        "score": lambda model, x, y, window: 0.0,
        "x": np.ones(12),
        "y": np.ones(12),
        "lambdas": [1.0],
    }
    with pytest.raises(error, match=re.escape(message)):
        selection.cross_validate(**(good | change))
