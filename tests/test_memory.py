"""Memory that the core keeps for calls to come is given back when that is asked for."""

import mmap
from pathlib import Path

import numpy as np
import pytest

import normrnn as nr

STATM = Path("/proc/self/statm")


def resident() -> int:
    return int(STATM.read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(not STATM.exists(), reason="/proc does not say how much memory is resident")
def test_release() -> None:
    params = nr.init_params("rnn_tanh", 1, 256, rng=0)
    x = np.ones((1000, 64, 1), np.float32)
    nr.device.release_memory("cpu")
    before = resident()
    out = nr.forward("rnn_tanh", x, params)
    result, y = out.y.nbytes, out.y.copy()
    del out
    kept = resident()
    assert kept - before > 1.5 * result  # y, and what is kept of it and of the tape
    nr.device.release_memory("cpu")
    assert kept - resident() > 0.9 * result
    np.testing.assert_array_equal(nr.forward("rnn_tanh", x, params).y, y)


def test_what_is_in_use_stays() -> None:
    params = nr.init_params("gru", 3, 40, rng=0)
    x = np.random.default_rng(0).standard_normal((50, 20, 3)).astype(np.float32)
    out = nr.forward("gru", x, params)
    expected = nr.backward(out.tape, dy=out.y).params
    nr.device.release_memory("cpu")
    again = nr.backward(out.tape, dy=out.y).params
    for name, gradient in expected.items():
        np.testing.assert_array_equal(again[name], gradient)
