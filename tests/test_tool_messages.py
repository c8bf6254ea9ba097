"""What penalties, diagnostics, selection and plots say about an argument that does not fit."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from calls import normal

GRU = nr.init_params("gru", 3, 5)
PARAMS, GRADS, L2 = {"w": np.ones(2)}, {"w": np.ones(2)}, nr.L2(0.1)
SENSITIVITY = {"rule": nr.SGD(0.1), "penalty": L2}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nr.SGD(10**400), ValueError, "lr: expected a finite number >= 0, got inf"),
        (
            lambda: nr.L2(-(10**400)),
            ValueError,
            "strength: expected a finite number >= 0, got -inf",
        ),
        (
            lambda: nr.GroupLasso(0.1, groups="outgoing", heads=None),
            TypeError,
            "heads: expected a sequence of names, got NoneType",
        ),
        (
            lambda: nr.GroupLasso(0.1, groups="outgoing", heads=[["a"]]),
            TypeError,
            "heads: expected names, got list",
        ),
        (
            lambda: nr.selection.sensitivity(None, GRADS, **SENSITIVITY),
            TypeError,
            "params: expected a dict, got NoneType",
        ),
        (
            lambda: nr.selection.sensitivity(PARAMS, GRADS, 3, **SENSITIVITY),
            TypeError,
            "state: expected the dict of init_state, got int",
        ),
        (
            lambda: nr.selection.hypergradient(None, GRADS),
            TypeError,
            "moved: expected a mapping, got NoneType",
        ),
        (
            lambda: nr.selection.hypergradient({}, None),
            TypeError,
            "validation_grads: expected a mapping, got NoneType",
        ),
        (
            lambda: nr.selection.log_step(L2, None, rate=1.0),
            TypeError,
            "slopes: expected a mapping, got NoneType",
        ),
        (
            lambda: nr.diagnostics.weight_norms(GRU, state=3),
            TypeError,
            "state: expected a dict or None, got int",
        ),
        (
            lambda: nr.diagnostics.weight_norms(GRU, tol=-1),
            ValueError,
            "tol: expected a finite number > 0, got -1.0",
        ),
        (
            lambda: nr.diagnostics.jacobian_norms("gru", normal(4, 2, 3), GRU, [1], h0="x"),
            TypeError,
            "h0: expected an ndarray or None, got str",
        ),
        (
            lambda: nr.diagnostics.jacobian_norms("gru", normal(4, 2, 3), GRU, [1], names=3),
            TypeError,
            "names: expected a sequence of names, got int",
        ),
        (
            lambda: nr.selection.cross_validate(
                id, id, GRADS["w"], GRADS["w"], [1.0], axis=np.True_
            ),
            ValueError,
            "axis: expected 0 or 1, got np.True_",
        ),
        (
            lambda: nr.plots.lambda_path("x", [1.0]),
            ValueError,
            "lambdas: expected finite numbers >= 0, [K], got 'x'",
        ),
        (
            lambda: nr.plots.lambda_path([1.0], [1.0], labels=3),
            TypeError,
            "labels: expected a sequence of names, got int",
        ),
    ],
)
def test_tools(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
