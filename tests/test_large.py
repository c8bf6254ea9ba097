"""Arrays of any size, beyond what 32 bits count too: a part of the batch alone gives the same bits.

NORMRNN_ELEMENTS=2150000000 takes the largest arrays past 2^31 elements, where MIOpen's LSTM
overflowed (pytorch#191924). That needs 25 GB of memory; without it the same tests are small.
"""

import os

import numpy as np

import normrnn as nr

ELEMENTS = int(os.environ.get("NORMRNN_ELEMENTS", "100000"))
HIDDEN, BATCH, PARTS = 112, 40, 4  # no padding in rows of 112 or of 4 * 112 numbers


def problem(elements_of_a_row: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Parameters of an LSTM, and x [T, B, 1] with as many rows T * B as make up ELEMENTS."""
    times = ELEMENTS // (BATCH * elements_of_a_row) + 1
    x = np.random.default_rng(0).standard_normal((times, BATCH, 1), np.float32)
    return nr.init_params("lstm", 1, HIDDEN), x


def parts() -> list[slice]:
    size = BATCH // PARTS
    return [slice(i * size, (i + 1) * size) for i in range(PARTS)]


def assert_same(part: np.ndarray, whole: np.ndarray, name: str) -> None:
    assert np.array_equal(part, whole), name  # a report of so many elements would take their memory


def test_outputs() -> None:
    """y [T, B, H] is the largest array."""
    params, x = problem(HIDDEN)
    out = nr.forward("lstm", x, params, need_grad=False)
    assert out.y.size > ELEMENTS
    for rows in parts():
        part = nr.forward("lstm", x[:, rows], params, need_grad=False)
        assert_same(part.y, out.y[:, rows], "y")
        assert_same(part.h_n, out.h_n[:, rows], "h_n")
        assert_same(part.c_n, out.c_n[:, rows], "c_n")


def test_training() -> None:
    """Gates [T, B, 4 H] are the largest, on the tape and as gradients; the loss is sum y^2 / 2."""
    params, x = problem(4 * HIDDEN)
    out = nr.forward("lstm", x, params)
    y, tape, h_n = out.y, out.tape, out.h_n
    del out
    assert 4 * y.size > ELEMENTS
    whole = nr.backward(tape, y, h_n)
    del tape  # or parts would have to find room beside it
    sums = {name: np.zeros(w.shape) for name, w in params.items()}
    for rows in parts():
        part = nr.forward("lstm", x[:, rows], params)
        assert_same(part.y, y[:, rows], "y")
        grads = nr.backward(part.tape, part.y, part.h_n)
        for name in ("x", "h0", "c0"):
            assert_same(getattr(grads, name), getattr(whole, name)[:, rows], name)
        for name, gradient in grads.params.items():
            sums[name] += gradient
    for name, gradient in whole.params.items():
        # Summed in float32 by blocks of 256 rows, 2e4 of them: less than 2e4 * 2^-24 off.
        atol = 1e-3 * np.abs(sums[name]).max()
        np.testing.assert_allclose(gradient, sums[name], rtol=0, atol=atol, err_msg=name)
