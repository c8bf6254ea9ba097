"""What an update refuses, before anything changes."""

import re
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from networks import assert_unchanged, lstm_problem

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
        "clip_ratio: expected no pattern of gates for a vector, which has one ratio, got one for "
        "bias_hh_l0",
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


def test_parameters_that_are_no_arrays_of_numbers() -> None:
    for penalty in (None, nr.GroupLasso(0.1), nr.L1(0.1, weights=np.ones(1)), nr.NuclearNorm(0.1)):
        with pytest.raises(TypeError, match=r"^params\['w'\]: expected a numpy.ndarray, got list$"):
            nr.update({"w": [[1.0]]}, {"w": np.ones((1, 1))}, rule=nr.SGD(0.1), penalty=penalty)
        half = np.ones((2, 2), np.float16)
        text = r"^params\['w'\]: expected dtype float32 or float64, got float16$"
        with pytest.raises(TypeError, match=text):
            nr.update({"w": half}, {"w": half}, rule=nr.SGD(0.1), penalty=penalty)


def test_names_that_are_no_strings() -> None:
    w = np.ones(2)
    with pytest.raises(TypeError, match=r"^params: expected names that are str, got int$"):
        nr.update({1: w}, {1: w}, rule=nr.SGD(0.1))  # type: ignore[dict-item]
    assert w.tolist() == [1, 1]


def test_clip_ratio_beside_gates_without_a_penalty() -> None:
    params, grads = nr.init_params("gru", 2, 3), nr.init_params("gru", 2, 3, rng=1)
    plain = {name: w.copy() for name, w in params.items()}
    nr.update(plain, grads, rule=nr.SGD(0.1), clip_ratio=0.1)
    nr.update(params, grads, rule=nr.SGD(0.1), penalty={"bias_*[*]": None}, clip_ratio=0.1)
    for name, w in params.items():
        np.testing.assert_array_equal(w, plain[name])


@pytest.mark.parametrize(
    ("rule", "params", "message"),
    [
        (None, {}, "rule: expected a rule such as SGD(0.1), got NoneType"),
        (nr.Adam(), [np.ones(2)], "params: expected a mapping, got list"),
        (nr.Adam(), {"w": [1, 2]}, "params['w']: expected a numpy.ndarray, got list"),
    ],
)
def test_a_state_of_nothing(rule: Any, params: Any, message: str) -> None:
    with pytest.raises(TypeError, match=rf"^{re.escape(message)}$"):
        nr.init_state(rule, params)
