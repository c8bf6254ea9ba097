"""Forward + backward with layer norm, and of IndRNN: as multiples of the plain cell and of PyTorch.

PyTorch has no such cells, so what stands beside them is the loop that one writes there, with
torch.nn.functional.layer_norm and the input's product ahead of the loop. The three take turns, and
the least of many rounds counts, which other programs disturb least. Where PyTorch is not installed
(`nox -s bench` does not), its column is left out.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from normrnn import reference

PLAIN = {
    "rnn_tanh_ln": "rnn_tanh",
    "gru_ln": "gru",
    "lstm_ln": "lstm",
    "indrnn_tanh": "rnn_tanh",
}
TIMES, BATCH, INPUTS, HIDDEN = 100, 32, 128, 256
ROUNDS = 30

Array = np.ndarray[Any, Any]


def torch_step(cell: str, x: Array, params: dict[str, Array], dy: Array) -> Callable[[], Array]:
    """Return a training step, forward and backward, that returns dL/dU."""
    import torch

    torch.set_num_threads(nr.get_num_threads())
    norm, sigmoid, tanh = torch.nn.functional.layer_norm, torch.sigmoid, torch.tanh
    w = {n.removesuffix("_l0"): torch.tensor(a, requires_grad=True) for n, a in params.items()}
    u, v, b_ih, b_hh = (w[n] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    given_x, sent = torch.tensor(x), torch.tensor(dy)

    def after(pre: Any, h: Any, c: Any) -> tuple[Any, Any]:
        if cell == "indrnn_tanh":
            return tanh(pre + v * h + b_hh), c
        rec = norm(h @ v.T, v.shape[:1], w["gain_hh"], b_hh)
        if cell == "rnn_tanh_ln":
            return tanh(pre + rec), c
        if cell == "gru_ln":
            (pre_r, pre_z, pre_n), (rec_r, rec_z, rec_n) = pre.chunk(3, 1), rec.chunk(3, 1)
            n = tanh(pre_n + sigmoid(pre_r + rec_r) * rec_n)
            return n + sigmoid(pre_z + rec_z) * (h - n), c
        i, f, g, o = (pre + rec).chunk(4, 1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(norm(c, (HIDDEN,), w["gain_c"], w["bias_c"])), c

    def step() -> Array:
        for parameter in w.values():
            parameter.grad = None
        pre = given_x @ u.T
        pre = pre + b_ih if cell == "indrnn_tanh" else norm(pre, u.shape[:1], w["gain_ih"], b_ih)
        h = c = torch.zeros(BATCH, HIDDEN)
        outputs = []
        for t in range(TIMES):
            h, c = after(pre[t], h, c)
            outputs.append(h)
        torch.stack(outputs).backward(sent)
        gradient: Array = u.grad.numpy()
        return gradient

    return step


def our_step(cell: str, x: Array, params: dict[str, Array], dy: Array) -> Callable[[], Array]:
    """Return the same step of normrnn."""
    return lambda: nr.backward(nr.forward(cell, x, params).tape, dy).params["weight_ih_l0"]


@pytest.mark.parametrize("cell", PLAIN)
def test_norm_training_step(cell: str, benchmark: Any, machine: object) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((TIMES, BATCH, INPUTS), np.float32)
    dy = rng.standard_normal((TIMES, BATCH, HIDDEN), np.float32)
    own, plain = (nr.init_params(name, INPUTS, HIDDEN) for name in (cell, PLAIN[cell]))
    steps = {
        cell: our_step(cell, x, own, dy),
        PLAIN[cell]: our_step(PLAIN[cell], x, plain, dy),
    }
    if importlib.util.find_spec("torch"):
        steps["torch"] = torch_step(cell, x, own, dy)
    wide = {name: w.astype(np.float64) for name, w in own.items()}
    tape = reference.forward(cell, x.astype(np.float64), wide).tape
    expected = reference.backward(tape, dy.astype(np.float64)).params["weight_ih_l0"]
    for name in {cell, "torch"} & steps.keys():
        # Float32 sums, and over 100 steps of an untrained LSTM what rounding grows to.
        scale = np.abs(expected).max()
        np.testing.assert_allclose(steps[name](), expected, rtol=0, atol=1e-3 * scale)

    best = dict.fromkeys(steps, float("inf"))
    for _ in range(ROUNDS):
        for name, step in steps.items():
            step()  # not timed: the one before has left its threads and its data in the caches
            start = time.perf_counter()
            step()
            best[name] = min(best[name], time.perf_counter() - start)
    benchmark.extra_info[f"the time of {PLAIN[cell]}"] = round(best[cell] / best[PLAIN[cell]], 2)
    if "torch" in best:
        benchmark.extra_info["as fast as a PyTorch loop"] = round(best["torch"] / best[cell], 1)
    benchmark(steps[cell])
