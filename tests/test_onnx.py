"""The operators of ONNX with our weights, in ONNX's own evaluator: their gates and kind of GRU."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import normrnn as nr
from bench.peers.onnx_model import serialised_model
from bench.points import Point
from runs import TOLERANCE


def network(cell: str) -> tuple[onnx.ModelProto, np.ndarray, np.ndarray]:
    """The model of two layers, its input x [T, B, I], and our y [T, B, H]."""
    point = Point(cell, times=7, batch=3, inputs=4, hidden=6, layers=2)
    params = nr.init_params(cell, point.inputs, point.hidden, num_layers=point.layers)
    x = np.random.default_rng(0).standard_normal((7, 3, 4), np.float32)
    y = nr.forward(cell, x, params, need_grad=False).y
    return onnx.load_from_string(serialised_model(point, params)), x, y


def evaluate(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    (y,) = ReferenceEvaluator(model).run(None, {"x": x})
    return y


# ONNX's evaluator knows no RNN with ReLU.
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_the_operator_computes_what_the_cell_does(cell: str) -> None:
    model, x, y = network(cell)
    np.testing.assert_allclose(evaluate(model, x), y, rtol=0, atol=TOLERANCE["float32"])


def test_our_gru_is_the_one_that_resets_after_the_product() -> None:
    """A model that says the other one gives other numbers, silently (pytorch#189225)."""
    model, x, y = network("gru")
    attributes = [a for node in model.graph.node for a in node.attribute]
    resets = [a for a in attributes if a.name == "linear_before_reset"]
    assert [a.i for a in resets] == [1, 1]  # a node for each layer
    for attribute in resets:
        attribute.i = 0
    # Of states and biases of order 1/3: nothing that rounding could explain.
    assert np.abs(evaluate(model, x) - y).max() > 0.1
