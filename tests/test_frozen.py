"""Frozen parameters: the same results, and no way to change them."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest

import normrnn as nr


def network(cell: str, dtype: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    params = nr.init_params(
        cell, 5, 7, num_layers=2, bidirectional=True, output_size=3, dtype=dtype, rng=1
    )
    return params, np.random.default_rng(2).standard_normal((6, 4, 5)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", list(nr._core.cells()))
def test_same_bits(cell: str, dtype: str) -> None:
    params, x = network(cell, dtype)
    frozen = nr.freeze(cell, params)
    lengths = [6, 2, 0, 5]
    plain = nr.forward(cell, x, params, lengths=lengths)
    out = nr.forward(cell, x, frozen, lengths=lengths)
    np.testing.assert_array_equal(out.y, plain.y)
    np.testing.assert_array_equal(out.h_n, plain.h_n)
    dy = np.ones_like(out.y)
    expected, grads = nr.backward(plain.tape, dy), nr.backward(out.tape, dy)
    np.testing.assert_array_equal(grads.x, expected.x)
    assert grads.params.keys() == expected.params.keys()
    for name, gradient in expected.params.items():
        np.testing.assert_array_equal(grads.params[name], gradient)
    np.testing.assert_array_equal(nr.head_forward(out.y, frozen), nr.head_forward(plain.y, params))


def test_is_a_copy_that_cannot_be_changed() -> None:
    params, x = network("gru", "float32")
    before = nr.forward("gru", x, params).y
    frozen = nr.freeze("gru", params)
    for w in params.values():
        w[...] = 0
    np.testing.assert_array_equal(nr.forward("gru", x, frozen).y, before)
    assert frozen.keys() == params.keys()
    assert len(frozen) == len(params)
    for w in frozen.values():
        with pytest.raises(ValueError, match="read-only"):
            w[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            w.flags.writeable = True
    with pytest.raises(TypeError, match="params: expected a dict, got FrozenParams"):
        nr.update(frozen, {name: np.ones_like(w) for name, w in frozen.items()}, rule=nr.SGD(0.1))


def test_bfloat16() -> None:
    params, x = network("lstm", "float32")
    expected = nr.forward("lstm", x, params, precision="bfloat16").y
    for precision in (None, "bfloat16"):
        frozen = nr.freeze("lstm", params, precision=precision)
        np.testing.assert_array_equal(
            nr.forward("lstm", x, frozen, precision="bfloat16").y, expected
        )
        np.testing.assert_array_equal(
            nr.forward("lstm", x, frozen).y, nr.forward("lstm", x, params).y
        )


@pytest.mark.parametrize("precision", [None, "bfloat16"])
@pytest.mark.parametrize("again", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy])
def test_pickles_and_copies(again: Callable, precision: str | None) -> None:
    params, x = network("lstm", "float32")
    frozen = nr.freeze("lstm", params, precision=precision)
    other = again(frozen)
    assert (other.cell, other.precision, list(other)) == ("lstm", precision, list(params))
    for name, w in other.items():
        assert not np.shares_memory(w, frozen[name])
        with pytest.raises(ValueError, match="read-only"):
            w[...] = 0
    np.testing.assert_array_equal(
        nr.forward("lstm", x, other, precision=precision).y,
        nr.forward("lstm", x, params, precision=precision).y,
    )


def test_output_pickles_without_a_tape() -> None:
    params, x = network("gru", "float32")
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(nr.forward("gru", x, params))
    out = nr.forward("gru", x, params, need_grad=False)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(out)).y, out.y)


def test_tape_outlives_the_frozen_parameters() -> None:
    params, x = network("lstm", "float64")
    expected = nr.backward(nr.forward("lstm", x, params).tape).x
    tape = nr.forward("lstm", x, nr.freeze("lstm", params)).tape
    np.testing.assert_array_equal(nr.backward(tape).x, expected)


def test_empty_input() -> None:
    params = nr.init_params("gru", 0, 3)
    x = np.ones((2, 1, 0), np.float32)
    np.testing.assert_array_equal(
        nr.forward("gru", x, nr.freeze("gru", params)).y, nr.forward("gru", x, params).y
    )


@pytest.mark.parametrize(
    ("cell", "change", "error", "message"),
    [
        ("gru", {"weight_hh_l0": 3}, TypeError, "weight_hh_l0: expected a numpy.ndarray, got int"),
        (
            "gru",
            {"weight_hh_l0": np.zeros((21, 6), np.float32)},
            ValueError,
            r"weight_hh_l0: expected shape \(21, 7\), got \(21, 6\)",
        ),
        (
            "gru",
            {"weight_hh_l0": np.ma.masked_less(np.zeros((21, 7), np.float32), 0)},
            TypeError,
            "weight_hh_l0: expected an array without a mask",
        ),
        ("nope", {}, ValueError, "cell: expected one of .*, got 'nope'"),
    ],
)
def test_refuses(cell: str, change: dict, error: type[Exception], message: str) -> None:
    params, _ = network("gru", "float32")
    with pytest.raises(error, match=message):
        nr.freeze(cell, params | change)


def test_refuses_another_cell() -> None:
    params, x = network("gru", "float32")
    frozen = nr.freeze("gru", params)
    with pytest.raises(ValueError, match="cell: expected 'gru', which the params were frozen for"):
        nr.forward("lstm", x, frozen)
    with pytest.raises(TypeError, match="params: expected a mapping, got list"):
        nr.freeze("gru", [])
