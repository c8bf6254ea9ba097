"""Networks and gradients that tests of updates draw on."""

from copy import deepcopy
from typing import Any

import numpy as np

import normrnn as nr

DTYPES = ("float32", "float64")
RULES = (
    nr.SGD(0.1),
    nr.Momentum(0.05, momentum=0.5),
    nr.Momentum(0.05, momentum=0.5, nesterov=True),
    nr.Adam(0.02),
    nr.AdamW(0.02),
)


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


def lstm_problem(**change: Any) -> dict[str, Any]:
    params = network(change.pop("cell", "lstm"), 4, 2, False, "float64", seed=22)
    params["weight_hy"] = np.ones((2, change.pop("columns", 4)))
    rule = change.pop("rule", nr.SGD(0.1))
    arguments = {"params": params, "grads": gradients_of(params, seed=23), "rule": rule}
    return arguments | {"state": nr.init_state(rule, params)} | change


def assert_unchanged(before: Any, after: Any) -> None:
    for key, value in before.items():
        if isinstance(value, dict):
            assert value.keys() == after[key].keys()
            assert_unchanged(value, after[key])
        else:
            np.testing.assert_array_equal(value, after[key])
