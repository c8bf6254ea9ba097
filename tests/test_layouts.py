"""Inputs in any layout, and of any type of integer, give the same bits and stay as they are."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from calls import (
    EVERY_ARRAY,
    FUNCTIONS,
    changed,
    forward_arguments,
    misaligned,
    read_only,
    walk,
)
from runs import assert_same_bits

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "Fortran": np.asfortranarray,
    "misaligned": misaligned,
    "backwards": lambda a: a[::-1].copy()[::-1],
    "one element, broadcast": lambda a: np.broadcast_to(a.flat[0], a.shape),
    "one row, broadcast": lambda a: np.broadcast_to(a[..., :1], a.shape),
    "read-only": read_only,
}
# What update changes has to lie as it does; test_update.py has its gradients.
ANY_LAYOUT = [(function, path) for function, path in EVERY_ARRAY if function != "update"]
ANY_LAYOUT += [("forward", "lengths"), ("forward", "params.weight_ih_l0")]
ANY_LAYOUT += [("head_backward", "params.weight_hy"), ("squared_error", "y")]


@pytest.mark.parametrize(("function", "path"), ANY_LAYOUT)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_gives_the_same_bits(function: str, path: str, layout: str) -> None:
    views = []

    def lay_out(array: np.ndarray) -> np.ndarray:
        views.append(LAYOUTS[layout](array))
        return views[0]

    arguments = changed(function, path, lay_out)
    plain = changed(function, path, lambda a: views[0].copy())
    before = views[0].copy()
    call = FUNCTIONS[function][0]
    assert_same_bits(arrays_in(call(**arguments)), arrays_in(call(**plain)))
    np.testing.assert_array_equal(views[0], before)


def arrays_in(result: Any, name: str = "") -> dict[str, np.ndarray]:
    """Every array and number in a result, and what backward makes of a tape in it."""
    if isinstance(result, nr.results.Output):
        grads = nr.backward(result.tape, np.ones_like(result.y))
        result = vars(result) | {"tape": None, "grads": vars(grads)}
    if isinstance(result, nr.results.Gradients):
        result = vars(result)
    if isinstance(result, tuple):
        result = dict(enumerate(result))
    if isinstance(result, dict):
        parts = [arrays_in(value, f"{name} {key}") for key, value in result.items()]
        return {key: array for part in parts for key, array in part.items()}
    return {} if result is None else {name: np.asarray(result)}


@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "i8", "u8", ">i4", ">u8"])
def test_any_integers_will_do(dtype: str) -> None:
    for function, path in [("forward", "lengths"), ("softmax_cross_entropy", "target")]:
        call, make = FUNCTIONS[function]
        expected, actual = (
            call(**make()),
            call(**changed(function, path, lambda a: a.astype(dtype))),
        )
        assert_same_bits(arrays_in(actual), arrays_in(expected))


@pytest.mark.parametrize("lengths", [[3, 1], (3, 1), range(3, 1, -1)])
def test_lengths_may_be_any_sequence(lengths: Any) -> None:
    arguments = forward_arguments()
    expected = nr.forward(**arguments | {"lengths": np.array(lengths)})
    assert_same_bits(arrays_in(nr.forward(**arguments | {"lengths": lengths})), arrays_in(expected))


def test_no_sequences_have_no_lengths() -> None:
    params = nr.init_params("gru", 3, 5)
    out = nr.forward("gru", np.ones((4, 0, 3), np.float32), params, lengths=[])
    assert out.y.shape == (4, 0, 5)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_inputs_do_not_change(function: str) -> None:
    call, make = FUNCTIONS[function]
    arguments = make()
    before = deepcopy({name: value for name, value in arguments.items() if name != "tape"})
    call(**arguments)
    for name, value in before.items():
        if function == "update" and name in ("params", "state"):
            continue
        for ours, theirs in zip(walk(arguments[name]), walk(value), strict=True):
            np.testing.assert_array_equal(ours, theirs)


class MadeOnDemand(dict[str, np.ndarray]):
    """A dict whose arrays live no longer than the look-up, as with lazy loading."""

    def __getitem__(self, name: str) -> np.ndarray:
        return np.array(super().__getitem__(name))


def test_parameters_made_on_demand() -> None:
    params, x = nr.init_params("gru", 5, 7), np.ones((4, 3, 5), np.float32)
    want, got = nr.forward("gru", x, params), nr.forward("gru", x, MadeOnDemand(params))
    assert np.array_equal(got.y, want.y)
    assert np.array_equal(nr.backward(got.tape, got.y).x, nr.backward(want.tape, want.y).x)


class OddCopy(np.ndarray):
    """A subclass whose copy() is something else."""

    def copy(self, order: object = "C") -> np.ndarray:
        return np.zeros(1, np.float32)


def test_a_subclass_does_not_make_its_own_copy() -> None:
    params, x = nr.init_params("gru", 5, 7), np.ones((4, 3, 5), np.float32)
    h0 = np.ones((1, 3, 14), np.float32)[:, :, ::2]
    want = nr.forward("gru", x, params, h0).y
    assert np.array_equal(nr.forward("gru", x, params, h0.view(OddCopy)).y, want)
