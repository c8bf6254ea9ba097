"""Accuracy of tanh and the logistic sigmoid, over bit patterns from the whole range of floats.

What Python can see of it: cpp/tests/test_activations.cpp has the functions by themselves.
"""

import math
import os
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

import normrnn as nr

# How many floating-point numbers further than the correctly rounded one a result may lie.
STEPS = 2
DTYPES = ("float32", "float64")


def arguments(dtype: str) -> np.ndarray:
    """A million numbers: any bits, all sizes that matter, and the special ones."""
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    bits = rng.integers(0, 2**info.bits, 500_000, dtype=f"u{info.bits // 8}", endpoint=False)
    sizes = 10 ** rng.uniform(-8, 3, 250_000) * rng.choice([-1, 1], 250_000)
    special = [0, info.tiny, info.smallest_subnormal, 1e-30, 0.5, 1, 20, 88, 89, 104, 709, info.max]
    special = np.array([*special, np.inf, np.nan])
    every = [bits.view(dtype), sizes, rng.uniform(-30, 30, 250_000), special, -special]
    return np.concatenate([a.astype(dtype) for a in every])


def tanh(x: np.ndarray) -> np.ndarray:
    """One step of one unit with U = 1, from h = 0."""
    params = {name: np.ones((1, 1), x.dtype) for name in ("weight_ih_l0", "weight_hh_l0")}
    return nr.forward("rnn_tanh", x[None, :, None], params).y[0, :, 0]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The gradient sigmoid(x) - target at target 0."""
    return nr.sigmoid_cross_entropy(x[:, None], np.zeros_like(x)[:, None])[1][:, 0]


def sigmoid_of_a_gate(x: np.ndarray) -> np.ndarray:
    """A GRU's z, which is h' = (1 - z) n + z h where n = 0 and h = 1."""
    params = {"weight_ih_l0": [[0], [1], [0]], "weight_hh_l0": [[0], [0], [0]]}
    params = {name: np.array(w, x.dtype) for name, w in params.items()}
    return nr.forward("gru", x[None, :, None], params, np.ones((1, x.size, 1), x.dtype)).y[0, :, 0]


def exact_sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x > 0, 1, e) / (1 + e)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("function", "exact", "finite"),
    [
        (tanh, np.tanh, False),
        (sigmoid, exact_sigmoid, False),
        (sigmoid_of_a_gate, exact_sigmoid, True),  # to the other gates infinity is 0 * inf
    ],
)
def test_accuracy(
    function: Callable[[np.ndarray], np.ndarray],
    exact: Callable[[np.ndarray], np.ndarray],
    finite: bool,
    dtype: str,
) -> None:
    assert np.finfo(np.longdouble).nmant > np.finfo(dtype).nmant + 8  # a reference worth the name
    x = arguments(dtype)
    x = x[np.isfinite(x)] if finite else x
    actual = function(x)
    with np.errstate(under="ignore", invalid="ignore"):
        expected = exact(x.astype(np.longdouble)).astype(dtype)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    # Down there results may be flushed to zero, and the sigmoid may stop falling.
    floor = np.finfo(dtype).tiny
    small = np.abs(expected) <= floor
    assert (np.abs(actual[small]) <= floor).all()
    rest = ~small & ~np.isnan(x)
    as_integers = [a[rest].view(f"i{a.itemsize}") for a in (actual, expected)]
    apart = np.abs(np.subtract(*as_integers))
    worst = np.argmax(apart)
    assert apart[worst] <= STEPS, f"{apart[worst]} numbers apart at {x[rest][worst]}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_limits(dtype: str) -> None:
    x = np.array([0, np.inf, -np.inf, 50, -50], dtype)
    assert tanh(x).tolist() == [0, 1, -1, 1, -1]
    assert sigmoid(x)[[0, 1, 3]].tolist() == [0.5, 1, 1]
    assert 0 <= sigmoid(x)[2] <= np.finfo(dtype).tiny


@pytest.mark.parametrize("dtype", DTYPES)
def test_symmetry_and_range(dtype: str) -> None:
    x = np.random.default_rng(0).uniform(0, 25, 200_000).astype(dtype)
    y = tanh(x)
    np.testing.assert_array_equal(tanh(-x), -y)
    assert ((y >= 0) & (y <= 1)).all()
    s = sigmoid(np.concatenate([-x, x]))
    assert ((s > 0) & (s <= 1)).all()


# How many numbers the slowest of references judges; ten million take some twenty minutes.
POINTS = int(os.environ.get("NORMRNN_POINTS", "3000"))
CHUNK = 100_000


def precise_sigmoid(x: mpmath.mpf) -> mpmath.mpf:
    return 1 / (1 + mpmath.exp(-x))


@pytest.mark.parametrize(
    ("function", "exact"),
    [(tanh, mpmath.tanh), (sigmoid, precise_sigmoid), (sigmoid_of_a_gate, precise_sigmoid)],
)
def test_float64_is_within_4_ulp(
    function: Callable[[np.ndarray], np.ndarray], exact: Callable[[mpmath.mpf], mpmath.mpf]
) -> None:
    worst, where = 0.0, 0.0
    for start in range(0, POINTS, CHUNK):
        rng = np.random.default_rng(start)
        half = (min(CHUNK, POINTS - start) + 1) // 2
        sizes = 2 ** rng.uniform(-60, 9, half) * rng.choice([-1, 1], half)
        x = np.concatenate([sizes, rng.uniform(-40, 40, half)])
        with mpmath.workdps(40):
            for argument, actual in zip(x.tolist(), function(x).tolist(), strict=True):
                expected = exact(mpmath.mpf(argument))
                error = float(abs(actual - expected) / math.ulp(float(expected)))
                if error > worst or math.isnan(error):
                    worst, where = error, argument
    print(f"{function.__name__}: at most {worst:.3f} ulp, at {where!r}")
    assert worst <= 4, where
