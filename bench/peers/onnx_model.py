"""The network as an ONNX model, for the runtimes that read one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.peers.contract import Arrays
from bench.points import Point

OPERATOR = {"rnn_tanh": "RNN", "rnn_relu": "RNN", "gru": "GRU", "lstm": "LSTM"}
# Where ONNX's gates are in PyTorch's order: i o f g out of i f g o, and z r n out of r z n.
GATES = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}
OPSET, IR_VERSION = 17, 8  # old enough for every reader


def reorder(weight: np.ndarray[Any, Any], operator: str) -> np.ndarray[Any, Any]:
    """Bring the gates of a weight [G*H, ...] into ONNX's order."""
    gates = np.split(weight, len(GATES[operator]))
    return np.concatenate([gates[k] for k in GATES[operator]])


def serialised_model(point: Point, params: Arrays) -> bytes:
    """Build the model: x [T, B, I] to y [T, B, D*H], all shapes fixed, states zero at first."""
    operator, directions = OPERATOR[point.cell], 1 + point.bidirectional
    attributes: dict[str, Any] = {"hidden_size": point.hidden}
    if directions == 2:
        attributes["direction"] = "bidirectional"
    if operator == "RNN":
        attributes["activations"] = [point.cell.removeprefix("rnn_").capitalize()] * directions
    if operator == "GRU":
        attributes["linear_before_reset"] = 1
    nodes, constants, source = [], [], "x"

    def constant(name: str, value: np.ndarray[Any, Any]) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    shape = constant("shape", np.array([point.times, point.batch, directions * point.hidden]))
    for layer in range(point.layers):
        suffixes = [f"l{layer}{d}" for d in ("", "_reverse")[:directions]]

        def stacked(kind: str, suffixes: list[str] = suffixes) -> np.ndarray[Any, Any]:
            return np.stack([reorder(params[f"{kind}_{s}"], operator) for s in suffixes])

        biases = np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1)
        weights = {"W": stacked("weight_ih"), "R": stacked("weight_hh"), "B": biases}
        given = [source, *(constant(f"{kind}{layer}", w) for kind, w in weights.items())]
        each, sides, target = f"each{layer}", f"sides{layer}", f"y{layer}"
        nodes.append(helper.make_node(operator, given, [each], **attributes))  # [T, D, B, H]
        nodes.append(helper.make_node("Transpose", [each], [sides], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [sides, shape], [target]))
        source = target
    x = helper.make_tensor_value_info(
        "x", TensorProto.FLOAT, [point.times, point.batch, point.inputs]
    )
    y = helper.make_tensor_value_info(
        source, TensorProto.FLOAT, [point.times, point.batch, directions * point.hidden]
    )
    model = helper.make_model(
        helper.make_graph(nodes, "network", [x], [y], constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
