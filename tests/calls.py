"""Every function of the package with good arguments, to be spoilt one at a time."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

import normrnn as nr

Arguments = dict[str, Any]


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def forward_arguments(cell: str = "lstm") -> Arguments:
    states = {"h0": normal(1, 2, 5), "c0": normal(1, 2, 5)}
    params = nr.init_params(cell, 3, 5)
    lengths = np.array([3, 1])
    return {"cell": cell, "x": normal(4, 2, 3), "params": params, "lengths": lengths} | states


def backward_arguments() -> Arguments:
    tape = nr.forward(**forward_arguments()).tape
    return {"tape": tape, "dy": normal(4, 2, 5), "dh_n": normal(1, 2, 5), "dc_n": normal(1, 2, 5)}


def head_arguments() -> Arguments:
    return {"h": normal(4, 2, 5), "params": {"weight_hy": normal(3, 5), "bias_hy": normal(3)}}


def loss_arguments(name: str) -> Arguments:
    mask = np.array([[True, False], [True, True], [False, True], [True, True]])
    classes = {"logits": normal(4, 2, 3), "target": np.array([[0, 1], [2, 1], [0, 0], [1, 2]])}
    return {
        "squared_error": {"y": normal(4, 2, 3), "target": normal(4, 2, 3), "mask": mask},
        "sigmoid_cross_entropy": {"logits": normal(4, 2, 3), "target": normal(4, 2, 3)},
        "softmax_cross_entropy": classes | {"mask": mask},
    }[name]


def update_arguments() -> Arguments:
    params = nr.init_params("gru", 3, 5)
    rule = nr.Momentum(0.1)
    state = nr.init_state(rule, params)
    return {"params": params, "grads": deepcopy(params), "state": state, "rule": rule}


FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[[], Arguments]]] = {
    "forward": (nr.forward, forward_arguments),
    "backward": (nr.backward, backward_arguments),
    "head_forward": (nr.head_forward, head_arguments),
    "head_backward": (nr.head_backward, lambda: head_arguments() | {"dy": normal(4, 2, 3)}),
    "update": (nr.update, update_arguments),
} | {
    name: (getattr(nr, name), lambda name=name: loss_arguments(name))
    for name in ("squared_error", "sigmoid_cross_entropy", "softmax_cross_entropy")
}


def refuses(function: str, changes: Arguments, error: type[Exception], pattern: str) -> None:
    """The call raises with a message that is `pattern` from end to end, and changes nothing."""
    call, make = FUNCTIONS[function]
    arguments = make() | changes
    arrays = [a for a in walk(arguments) if isinstance(a, np.ndarray)]
    before = [a.tobytes() for a in arrays]
    with pytest.raises(error, match=rf"\A{pattern}\Z"):
        call(**arguments)
    assert [a.tobytes() for a in arrays] == before


def walk(tree: Any) -> list[Any]:
    return [leaf for v in tree.values() for leaf in walk(v)] if isinstance(tree, dict) else [tree]


# Every array argument: where it stands, and how messages name it.
ARRAYS = {
    "forward": ["x", "h0", "c0", "params.weight_hh_l0", "params.bias_ih_l0"],
    "backward": ["dy", "dh_n", "dc_n"],
    "head_forward": ["h", "params.bias_hy"],
    "head_backward": ["h", "dy"],
    "squared_error": ["target", "mask"],
    "sigmoid_cross_entropy": ["target"],
    "softmax_cross_entropy": ["target", "mask"],
    "update": ["params.weight_hh_l0", "grads.bias_hh_l0", "state.velocity.weight_ih_l0"],
}
EVERY_ARRAY = [(function, path) for function, paths in ARRAYS.items() for path in paths]


def name_of(function: str, path: str) -> str:
    *outer, name = path.split(".")
    if function == "update":
        return f"state, slot 0 of '{name}'" if outer[0] == "state" else f"{outer[0]}['{name}']"
    return name


def changed(function: str, path: str, change: Callable[[np.ndarray], Any]) -> Arguments:
    """All arguments, with one array replaced; the others are what they were."""
    arguments = FUNCTIONS[function][1]()
    *outer, name = path.split(".")
    holder = arguments
    for key in outer:
        holder = holder[key]
    holder[name] = change(holder[name])
    return arguments


def misaligned(array: np.ndarray) -> np.ndarray:
    moved = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    assert not moved.flags.aligned or array.itemsize == 1
    return moved


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array
