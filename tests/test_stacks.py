"""Stacks and two directions on several threads: layers in step, directions side by side."""

import numpy as np
import pytest

import normrnn as nr


def everything(
    cell: str, threads: int, shape: tuple[int, int, int, int], **options: object
) -> list:
    times, batch, inputs, hidden = shape
    rng = np.random.default_rng(10)
    layers, both = options.pop("layers"), options.pop("both", False)
    params = nr.init_params(cell, inputs, hidden, num_layers=layers, bidirectional=both, rng=11)
    x = rng.standard_normal((times, batch, inputs)).astype(np.float32)
    states = (layers * (1 + both), batch, hidden)
    h0 = rng.standard_normal(states).astype(np.float32)
    c0 = rng.standard_normal(states).astype(np.float32) if cell == "lstm" else None
    out = nr.forward(cell, x, params, h0, c0, num_threads=threads, **options)
    plain = nr.forward(cell, x, params, h0, c0, num_threads=threads, need_grad=False, **options)
    np.testing.assert_array_equal(plain.y, out.y)
    np.testing.assert_array_equal(plain.h_n, out.h_n)
    grads = nr.backward(out.tape, out.y, h0, c0, num_threads=threads)
    cells = [] if c0 is None else [out.c_n, grads.c0]
    return [out.y, out.h_n, grads.x, grads.h0, grads.h_norm, *grads.params.values(), *cells]


# A small step, which is not worth a barrier: two layers or two directions then run at a time.
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [2, 3, 4])
@pytest.mark.parametrize("cell", list(nr._core.cells()))
def test_same_bits_at_a_time_and_in_turn(cell: str, layers: int, both: bool) -> None:
    shape = (200, 2, 5, 24)
    lengths = [200, 77]
    for options in ({}, {"lengths": lengths}, {"precision": "bfloat16"}):
        one = everything(cell, 1, shape, layers=layers, both=both, **options)
        for threads in (2, 3):
            several = everything(cell, threads, shape, layers=layers, both=both, **options)
            for a, b in zip(one, several, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("times", [0, 1, 3])
def test_short_sequences(times: int) -> None:
    one, two = (everything("gru", threads, (times, 1, 3, 8), layers=3) for threads in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
