"""Wrong types, dtypes, shapes and sizes of every argument: refused by name, nothing changed."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from calls import EVERY_ARRAY, Arguments, changed, head_arguments, name_of, normal, refuses
from runs import assert_same_bits

WRONG_TYPES = {
    "list": (lambda a: a.tolist(), "expected a numpy.ndarray, got list"),
    "number": (lambda a: 1.0, "expected a numpy.ndarray, got float"),
    "masked": (np.ma.masked_array, "expected an array without a mask, got MaskedArray"),
}


@pytest.mark.parametrize(("function", "path"), EVERY_ARRAY)
@pytest.mark.parametrize("kind", WRONG_TYPES)
def test_not_an_array(function: str, path: str, kind: str) -> None:
    change, complaint = WRONG_TYPES[kind]
    message = re.escape(f"{name_of(function, path)}: {complaint}")
    refuses(function, changed(function, path, change), TypeError, message)


@pytest.mark.parametrize(("function", "path"), EVERY_ARRAY)
@pytest.mark.parametrize("dtype", ["float64", "float16", ">f4", "object", "complex64", "M8[s]"])
def test_wrong_dtype(function: str, path: str, dtype: str) -> None:
    expected, got = "dtype float32", f"{np.dtype(dtype)}"
    if path == "mask":
        expected = "dtype bool"
    elif function == "softmax_cross_entropy":
        expected, got = "integers", f"dtype {np.dtype(dtype)}"
    message = f"{name_of(function, path)}: expected {expected}, got {got}"
    arguments = changed(function, path, lambda a: np.zeros(a.shape, dtype))
    refuses(function, arguments, TypeError, re.escape(message))


# These set the sizes that the others are measured by.
MEASURES = {
    ("forward", "x"),
    ("head_forward", "h"),
    ("head_backward", "h"),
    ("update", "params.weight_hh_l0"),
}


@pytest.mark.parametrize(("function", "path"), [a for a in EVERY_ARRAY if a not in MEASURES])
@pytest.mark.parametrize("change", [lambda a: a[None], lambda a: np.concatenate([a, a])])
def test_wrong_shape(function: str, path: str, change: Callable[[np.ndarray], Any]) -> None:
    right = []
    arguments = changed(function, path, lambda a: right.append(a.shape) or change(a))
    (shape,) = right
    wrong = change(np.zeros(shape)).shape
    message = f"{name_of(function, path)}: expected shape {shape}, got {wrong}"
    refuses(function, arguments, ValueError, re.escape(message))


GRU = nr.init_params("gru", 3, 5)
HEAD = head_arguments()["params"]
STATE = nr.init_state(nr.Momentum(0.1), GRU)

THREADED = ["forward", "backward", "head_forward", "head_backward", "update"]
COUNTS = [
    (0, ValueError, "an integer from 1 to 1024, got 0"),
    (-1, ValueError, "an integer from 1 to 1024, got -1"),
    (1025, ValueError, "an integer from 1 to 1024, got 1025"),
    (2**80, ValueError, f"an integer from 1 to 1024, got {2**80}"),
    (2.0, TypeError, "an integer, got float"),
    (True, TypeError, "an integer, got bool"),
    ("2", TypeError, "an integer, got str"),
]


@pytest.mark.parametrize("function", THREADED)
@pytest.mark.parametrize(("count", "error", "message"), COUNTS)
def test_num_threads(function: str, count: Any, error: type[Exception], message: str) -> None:
    either = "None or " if error is TypeError else ""
    text = re.escape(f"num_threads: expected {either}{message}")
    refuses(function, {"num_threads": count}, error, text)


@pytest.mark.parametrize(("count", "error", "message"), COUNTS)
def test_set_num_threads(count: Any, error: type[Exception], message: str) -> None:
    before = nr.get_num_threads()
    with pytest.raises(error, match=f"^count: expected {re.escape(message)}$"):
        nr.set_num_threads(count)
    assert nr.get_num_threads() == before


# Not yet arrays at all: the message still begins with the argument, and says what came.
@pytest.mark.parametrize(
    ("function", "changes", "got"),
    [
        ("forward", {"cell": 3}, "int"),
        ("forward", {"params": []}, "list"),
        ("forward", {"params": None}, "NoneType"),
        ("forward", {"batch_first": "yes"}, "str"),
        ("forward", {"need_grad": "no"}, "str"),
        ("head_forward", {"params": None}, "NoneType"),
        ("head_backward", {"params": 1}, "int"),
        ("update", {"params": []}, "list"),
        ("update", {"grads": None}, "NoneType"),
        ("update", {"state": []}, "list"),
        ("update", {"state": STATE | {"step": "0"}}, "str"),
        ("update", {"state": STATE | {"velocity": None}}, "NoneType"),
    ],
)
def test_not_of_the_type_at_all(function: str, changes: Arguments, got: str) -> None:
    (name,) = changes
    refuses(function, changes, TypeError, rf"{name}\b.*: expected .*, got {got}")


def test_a_step_below_zero() -> None:
    refuses(
        "update", {"state": STATE | {"step": -1}}, ValueError, r"state\b.*: expected .*, got -1"
    )


def absurd(*shape: int) -> np.ndarray:
    """An array of this shape in four bytes of memory."""
    return np.broadcast_to(np.float32(1), shape)


@pytest.mark.parametrize(
    "call",
    [
        lambda: nr.forward("gru", absurd(2**40, 2**10, 3), GRU),
        lambda: nr.forward("gru", absurd(2**40, 2**18, 3), GRU),
        lambda: nr.forward("gru", absurd(0, 2**40, 3), GRU),
        lambda: nr.forward("gru", absurd(2**20, 2**40, 0), nr.init_params("gru", 0, 5)),
        lambda: nr.forward("gru", absurd(2**60, 2, 0), nr.init_params("gru", 0, 5)),
        lambda: nr.backward(nr.forward("gru", absurd(2**44, 0, 3), GRU).tape),
        lambda: nr.head_forward(absurd(2**40, 2**10, 5), HEAD),
        lambda: nr.head_forward(absurd(2**31, 2**31, 0), {"weight_hy": absurd(3, 0)}),
        lambda: nr.squared_error(absurd(2**40, 2**10, 5), absurd(2**40, 2**10, 5)),
        lambda: nr.softmax_cross_entropy(absurd(2**50, 5), np.broadcast_to(np.int64(1), 2**50)),
        lambda: nr.update({"w": np.ones(2, np.float32)}, {"w": absurd(2**50)}, rule=nr.SGD(0.1)),
        lambda: nr.init_params("gru", 2**40, 2**20),
        lambda: nr.init_params("gru", 2**20, 2**24),
    ],
)
def test_absurd_sizes(call: Callable[[], Any]) -> None:
    with pytest.raises((MemoryError, ValueError)):
        call()


def one_bit(w: np.ndarray) -> None:
    w.view(np.uint8).flat[-w.itemsize] ^= 1  # the last bit of the last element


CHANGES: dict[str, Callable[[np.ndarray], Any]] = {
    "one bit": one_bit,
    "negated": lambda w: np.negative(w, out=w),
    "doubled": lambda w: np.multiply(w, 2, out=w),
    "times 16": lambda w: np.multiply(w, 16, out=w),
    "zero": lambda w: w.fill(0),
    "rows in another order": lambda w: np.copyto(w, w[::-1].copy()),
    "columns in another order": lambda w: np.copyto(w, w[:, ::-1].copy()),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [5, 16, 64, 128, 256])
def test_a_tape_whose_weights_have_changed(change: str, dtype: str, hidden: int) -> None:
    params = nr.init_params("rnn_tanh", 3, hidden, dtype=dtype)
    out = nr.forward("rnn_tanh", normal(2, 1, 3, dtype=dtype), params)
    before = nr.backward(out.tape, out.y)
    kept = params["weight_hh_l0"].copy()
    CHANGES[change](params["weight_hh_l0"])
    message = "tape: expected the weights of its forward pass, got weights that were changed since"
    with pytest.raises(ValueError, match=f"^{message}$"):
        nr.backward(out.tape, out.y)
    params["weight_hh_l0"][...] = kept
    after = nr.backward(out.tape, out.y)
    assert_same_bits(after.params, before.params)


def test_a_bool_of_numpy_is_a_flag() -> None:
    params, x = nr.init_params("gru", 3, 5), np.ones((4, 2, 3), np.float32)
    out = nr.forward("gru", x, params, batch_first=np.True_, need_grad=np.False_)
    assert out.tape is None
    np.testing.assert_array_equal(out.y, nr.forward("gru", x, params, batch_first=True).y)
