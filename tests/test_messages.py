"""What each function says about an argument that does not fit, word for word."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from calls import Arguments, changed, head_arguments, loss_arguments, normal, refuses
from normrnn import _core

GRU = nr.init_params("gru", 3, 5)
HEAD = head_arguments()["params"]
BIAS = normal(15)
CELLS = ", ".join(map(repr, _core.cells()))
LOSSES = ("squared_error", "sigmoid_cross_entropy", "softmax_cross_entropy")
FLOAT16, BIG_ENDIAN = normal(15, 3, dtype="float16"), normal(15, 3, dtype=">f4")

LENGTHS = "lengths: expected values from 0 to 4, the steps of x, got"
X_RANK = "x: expected 3 dimensions, {} (T = 1 for one step), got shape (4, 3)"
X_SHAPE = "x: expected shape {}, its last length that of weight_ih_l0, got {}"
PARAMETER = "params: expected a parameter named '{}', got none of that name"
UNKNOWN = (
    "params: expected only names of this network's parameters, such as 'weight_hh_l0', got '{}'"
)
WEIGHT_IH = "weight_ih_l0: expected shape (3*H, I) with H > 0, got {}"
GENERATOR = "rng: expected a seed or what else numpy.random.default_rng takes"
LARGEST = "expected an integer <= 2**28, got"
FLOATS = "expected dtype float32 or float64, got"
ONE_STATE = "expected None for the cell 'gru', which has one state, got ndarray"


def without(name: str) -> Arguments:
    return {"params": {n: w for n, w in GRU.items() if n != name}}


def with_entry(name: Any, array: Any) -> Arguments:
    return {"params": GRU | {name: array}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "gru_"}, f"cell: expected one of {CELLS}, got 'gru_'"),
        ({"x": normal(4, 3)}, X_RANK.format("[T, B, I]")),
        ({"x": normal(4, 3), "batch_first": True}, X_RANK.format("[B, T, I]")),
        ({"x": normal(4, 2, 4)}, X_SHAPE.format("(4, 2, 3)", "(4, 2, 4)")),
        (
            {"x": normal(2, 4, 4), "batch_first": True},
            X_SHAPE.format("(2, 4, 3)", "(2, 4, 4)"),
        ),
        ({"lengths": [4, 5]}, f"{LENGTHS} 5 at index 1"),
        ({"lengths": [-1, 4]}, f"{LENGTHS} -1 at index 0"),
        (
            {"lengths": np.array([4, 2**64 - 1], np.uint64)},
            f"lengths: expected integers below 2**63, got {2**64 - 1}",
        ),
        ({"lengths": [4]}, "lengths: expected shape (2,), got (1,)"),
        ({"lengths": 4}, "lengths: expected shape (2,), got ()"),
        ({"params": {}}, PARAMETER.format("weight_ih_l0")),
        (without("weight_hh_l0"), PARAMETER.format("weight_hh_l0")),
        (without("bias_hh_l0"), PARAMETER.format("bias_hh_l0")),
        (without("bias_ih_l0"), UNKNOWN.format("bias_hh_l0")),
        (with_entry("weight_hh_l1", BIAS), UNKNOWN.format("weight_hh_l1")),
        (with_entry("weight_ih_l2", BIAS), UNKNOWN.format("weight_ih_l2")),
        (with_entry("bias_hh_l0_reverse", BIAS), UNKNOWN.format("bias_hh_l0_reverse")),
        (with_entry(7, BIAS), UNKNOWN.format("7")),
        (with_entry("weight_ih_l0", normal(14, 3)), WEIGHT_IH.format("(14, 3)")),
        (with_entry("weight_ih_l0", normal(0, 3)), WEIGHT_IH.format("(0, 3)")),
        (with_entry("weight_ih_l0", normal(15)), WEIGHT_IH.format("(15,)")),
        (
            with_entry("weight_hh_l0", normal(15, 4)),
            "weight_hh_l0: expected shape (15, 5), got (15, 4)",
        ),
    ],
)
def test_forward_of_wrong_values(changes: Arguments, message: str) -> None:
    arguments = {"cell": "gru", "params": GRU, "c0": None} | changes
    refuses("forward", arguments, ValueError, re.escape(message))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"c0": normal(1, 2, 5)}, f"c0: {ONE_STATE}"),
        ({"lengths": [4.0, 4.0]}, "lengths: expected integers, got dtype float64"),
        ({"lengths": [True, True]}, "lengths: expected integers, got dtype bool"),
        (
            {"lengths": np.ma.masked_array([4, 4], [1, 0])},
            "lengths: expected an array without a mask, got MaskedArray",
        ),
        # All have the dtype of weight_ih_l0.
        (with_entry("weight_ih_l0", FLOAT16), f"weight_ih_l0: {FLOATS} float16"),
        (with_entry("weight_ih_l0", BIG_ENDIAN), f"weight_ih_l0: {FLOATS} >f4"),
        (with_entry("weight_ih_l0", None), "weight_ih_l0: expected a numpy.ndarray, got NoneType"),
        (
            with_entry("bias_hh_l0", normal(15, dtype="float64")),
            "bias_hh_l0: expected dtype float32, got float64",
        ),
        (
            {"params": nr.init_params("gru", 3, 5, dtype="float64")},
            "x: expected dtype float64, got float32",
        ),
    ],
)
def test_forward_of_wrong_types(changes: Arguments, message: str) -> None:
    arguments = {"cell": "gru", "params": GRU, "c0": None} | changes
    refuses("forward", arguments, TypeError, re.escape(message))


@pytest.mark.parametrize(
    ("tape", "got"),
    [
        (None, "NoneType"),  # what need_grad=False leaves
        (nr.forward("gru", normal(4, 2, 3), GRU), "Output"),
    ],
)
def test_not_a_tape(tape: Any, got: str) -> None:
    message = f"tape: expected the tape of a forward pass with need_grad=True, got {got}"
    refuses("backward", {"tape": tape}, TypeError, re.escape(message))


def test_backward_of_a_cell_with_one_state() -> None:
    tape = nr.forward("gru", normal(4, 2, 3), GRU).tape
    refuses("backward", {"tape": tape}, TypeError, re.escape(f"dc_n: {ONE_STATE}"))


H_LENGTH = "h: expected last length 5, that of weight_hy, got shape"


@pytest.mark.parametrize("function", ["head_forward", "head_backward"])
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"params": {}}, ValueError, "params: expected a parameter named 'weight_hy', got []"),
        (
            {"params": HEAD | {"weight_hy": normal(3)}},
            ValueError,
            "weight_hy: expected 2 dimensions, got (3,)",
        ),
        (
            {"params": HEAD | {"weight_hy": [[1.0]]}},
            TypeError,
            "weight_hy: expected a numpy.ndarray, got list",
        ),
        (
            {"params": HEAD | {"weight_hy": np.ones((3, 5), int)}},
            TypeError,
            f"weight_hy: {FLOATS} int64",
        ),
        (
            {"params": HEAD | {"bias_hy": normal(4)}},
            ValueError,
            "bias_hy: expected shape (3,), got (4,)",
        ),
        (
            {"params": HEAD | {"bias_hy": np.ones(3)}},
            TypeError,
            "bias_hy: expected dtype float32, got float64",
        ),
        (
            {"params": HEAD | {"bias_hy": [1.0, 2.0, 3.0]}},
            TypeError,
            "bias_hy: expected a numpy.ndarray, got list",
        ),
        ({"h": normal(4, 6)}, ValueError, f"{H_LENGTH} (4, 6)"),
        ({"h": normal()}, ValueError, f"{H_LENGTH} ()"),
    ],
)
def test_head(function: str, changes: Arguments, error: type[Exception], message: str) -> None:
    refuses(function, changes, error, re.escape(message))


@pytest.mark.parametrize("function", LOSSES)
@pytest.mark.parametrize("reduction", ["sum", "mean", "batch_mean"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda y: y.tolist(), TypeError, "expected a numpy.ndarray, got list"),
        (lambda y: y.astype(np.float16), TypeError, f"{FLOATS} float16"),
        (lambda y: y.astype(">f8"), TypeError, f"{FLOATS} >f8"),
        (np.ma.masked_array, TypeError, "expected an array without a mask, got MaskedArray"),
        (lambda y: y[0, 0], ValueError, "expected 2 or 3 dimensions, got shape (3,)"),
        (lambda y: y[None], ValueError, "expected 2 or 3 dimensions, got shape (1, 4, 2, 3)"),
    ],
)
def test_predictions(
    function: str,
    reduction: str,
    change: Callable[[np.ndarray], Any],
    error: type[Exception],
    message: str,
) -> None:
    name = "y" if function == "squared_error" else "logits"
    arguments = changed(function, name, change) | {"reduction": reduction}
    refuses(function, arguments, error, re.escape(f"{name}: {message}"))


@pytest.mark.parametrize("function", LOSSES)
@pytest.mark.parametrize("reduction", ["none", "Sum", None, 1])
def test_reduction(function: str, reduction: Any) -> None:
    message = f"reduction: expected 'sum', 'mean' or 'batch_mean', got {reduction!r}"
    refuses(function, {"reduction": reduction}, ValueError, re.escape(message))


@pytest.mark.parametrize("function", LOSSES)
@pytest.mark.parametrize("reduction", ["sum", "batch_mean"])
def test_batch_first_of_losses(function: str, reduction: str) -> None:
    changes = {"batch_first": "False", "reduction": reduction}
    refuses(function, changes, TypeError, "batch_first: expected True or False, got str")


@pytest.mark.parametrize("label", [-1, 3, 2**40])
def test_a_class_that_does_not_exist(label: int) -> None:
    target = np.array([[0, 1], [2, label], [0, 0], [1, 2]])
    message = f"target: expected classes from 0 to 2, got {label} at flat index 3"
    refuses("softmax_cross_entropy", {"target": target}, ValueError, re.escape(message))
    target[1, 1], target[0, 1] = 0, label  # masked out: may be anything
    nr.softmax_cross_entropy(**loss_arguments("softmax_cross_entropy") | {"target": target})


RULE = nr.Momentum(0.1)
ZEROS = nr.init_state(RULE, GRU)["velocity"]
CLIP = "clip_norm: expected a finite number > 0, got"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grads": {}}, f"grads: expected the names of params, got a difference in {sorted(GRU)}"),
        (
            {"grads": GRU | {"more": BIAS}},
            "grads: expected the names of params, got a difference in ['more']",
        ),
        (
            {"params": GRU | {"weight_hh_l0": normal(15, 4)}},
            "grads['weight_hh_l0']: expected shape (15, 4), got (15, 5)",
        ),
        (
            {"state": {"velocity": ZEROS}},
            f"state: expected an entry 'step' for {RULE}, got ['velocity']",
        ),
        (
            {"state": {"step": 0}},
            f"state: expected an entry 'velocity' for {RULE}, got ['step']",
        ),
        (
            {"state": {"step": 0, "velocity": {}}},
            "state: expected 'velocity' to hold 'weight_ih_l0', got none",
        ),
        (
            {"penalty": nr.L2(0.1, center=BIAS)},
            "center[weight_ih_l0]: expected shape (15, 3), got (15,)",
        ),
        (
            {"penalty": nr.L2(0.1, center={})},
            "center: expected an array for weight_ih_l0, got []",
        ),
        ({"clip_norm": 0.0}, f"{CLIP} 0.0"),
        ({"clip_norm": -1}, f"{CLIP} -1.0"),
        ({"clip_norm": np.inf}, f"{CLIP} inf"),
        ({"clip_norm": np.nan}, f"{CLIP} nan"),
    ],
)
def test_update_of_wrong_values(changes: Arguments, message: str) -> None:
    refuses("update", changes, ValueError, re.escape(message))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "sgd"}, "rule: expected a rule such as SGD(0.1), got str"),
        ({"rule": nr.SGD}, "rule: expected a rule such as SGD(0.1), got ABCMeta"),
        ({"state": None}, "state: expected the dict of init_state for Momentum, got None"),
        ({"penalty": "l2"}, "penalty: expected a penalty, got str"),
        ({"penalty": {"*": 1.0}}, "penalty['*']: expected a penalty, got float"),
        ({"penalty": {1: nr.L2(1.0)}}, "penalty: expected patterns of type str, got int"),
        (
            {"penalty": nr.L2(0.1, center=np.zeros((15, 3)))},
            "center[weight_ih_l0]: expected dtype float32, got float64",
        ),
        ({"clip_norm": "1"}, f"{CLIP} str"),
        ({"clip_norm": True}, f"{CLIP} bool"),
        ({"params": GRU | {"weight_ih_l0": FLOAT16}}, f"params['weight_ih_l0']: {FLOATS} float16"),
        (
            {"params": GRU | {"weight_hh_l0": normal(15, 5, dtype="float64")}},
            "params['weight_hh_l0']: expected dtype float32, got float64",
        ),
    ],
)
def test_update_of_wrong_types(changes: Arguments, message: str) -> None:
    refuses("update", changes, TypeError, re.escape(message))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"cell": "rnn"}, ValueError, f"cell: expected one of {CELLS}, got 'rnn'"),
        ({"cell": None}, ValueError, f"cell: expected one of {CELLS}, got None"),
        ({"cell": ["gru"]}, ValueError, f"cell: expected one of {CELLS}, got ['gru']"),
        ({"input_size": -1}, ValueError, "input_size: expected an integer >= 0, got -1"),
        (
            {"input_size": 2**62},
            ValueError,
            f"input_size: expected an integer <= 2**28, got {2**62}",
        ),
        (
            {"hidden_size": 2**70},
            ValueError,
            f"hidden_size: expected an integer <= 2**28, got {2**70}",
        ),
        ({"bias": "no"}, TypeError, "bias: expected True or False, got str"),
        ({"bidirectional": 1}, TypeError, "bidirectional: expected True or False, got int"),
        ({"hidden_size": 0}, ValueError, "hidden_size: expected an integer >= 1, got 0"),
        ({"num_layers": 0}, ValueError, "num_layers: expected an integer >= 1, got 0"),
        ({"output_size": 0}, ValueError, "output_size: expected an integer >= 1, got 0"),
        ({"hidden_size": 5.0}, TypeError, "hidden_size: expected an integer >= 1, got float"),
        ({"num_layers": True}, TypeError, "num_layers: expected an integer >= 1, got bool"),
        ({"input_size": "3"}, TypeError, "input_size: expected an integer >= 0, got str"),
        ({"dtype": "float16"}, TypeError, "dtype: expected float32 or float64, got float16"),
        ({"dtype": ">f4"}, TypeError, "dtype: expected float32 or float64, got >f4"),
        ({"dtype": int}, TypeError, "dtype: expected float32 or float64, got int64"),
        ({"dtype": "x"}, TypeError, "dtype: expected float32 or float64, got x"),
        ({"dtype": None}, TypeError, "dtype: expected float32 or float64, got None"),
        ({"rng": -1}, ValueError, f"{GENERATOR}, got -1"),
        ({"rng": 1.5}, TypeError, f"{GENERATOR}, got 1.5"),
    ],
)
def test_init_params(changes: Arguments, error: type[Exception], message: str) -> None:
    sizes = {"cell": "gru", "input_size": 3, "hidden_size": 5}
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        nr.init_params(**sizes | changes)


def test_sizes_of_few_bits() -> None:
    small = nr.init_params("gru", 3, np.uint8(200), num_layers=2, bidirectional=True)
    assert small["weight_ih_l1"].shape == (600, 400)
