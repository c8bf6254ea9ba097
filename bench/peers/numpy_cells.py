"""One layer and direction in plain NumPy, as fast as a loop over time gets.

U x is one product before the loop, gates are computed in place for all units at once, and the
weight gradients are large products after the loop. sigmoid(a) = (1 + tanh(a / 2)) / 2.

Steps run forwards in time; a reverse direction is given time-reversed arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Run:
    """What a forward pass leaves: its output is h[1:]."""

    h: Array  # [T + 1, B, H]
    c: Array  # [T + 1, B, H]; LSTM only
    acts: Array  # [T, B, G*H]; activated gates
    extra: Array  # [T, B, H]; tanh(c) of the LSTM, W_n h + b_hn of the GRU


def forward(cell: str, pre: Array, W: Array, b_hn: Array) -> Run:
    """Run over pre = U x + biases [T, B, G*H], which becomes the activated gates."""
    times, batch, _ = pre.shape
    hidden = W.shape[1]
    h = np.zeros((times + 1, batch, hidden), pre.dtype)
    c = np.zeros(h.shape if cell == "lstm" else 0, pre.dtype)
    extra = np.empty((times if cell in ("gru", "lstm") else 0, batch, hidden), pre.dtype)
    rec = np.empty((batch, len(W)), pre.dtype)
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], pre.dtype), hidden)
    for t in range(times):
        np.matmul(h[t], W.T, out=rec)
        a = pre[t]
        if cell == "gru":
            both = a[:, : 2 * hidden]
            both += rec[:, : 2 * hidden]
            _sigmoid(both)
            n = a[:, 2 * hidden :]
            np.add(rec[:, 2 * hidden :], b_hn, out=extra[t])
            n += a[:, :hidden] * extra[t]
            np.tanh(n, out=n)
            np.subtract(h[t], n, out=h[t + 1])
            h[t + 1] *= a[:, hidden : 2 * hidden]
            h[t + 1] += n
            continue
        a += rec
        if cell == "lstm":
            a *= scale
            np.tanh(a, out=a)
            a *= scale
            a += 1 - scale
            i, f, g, o = np.split(a, 4, axis=1)
            np.multiply(f, c[t], out=c[t + 1])
            c[t + 1] += i * g
            np.tanh(c[t + 1], out=extra[t])
            np.multiply(o, extra[t], out=h[t + 1])
        elif cell == "rnn_tanh":
            np.tanh(a, out=h[t + 1])
        else:
            np.maximum(a, 0, out=h[t + 1])
    return Run(h, c, pre, extra)


def backward(cell: str, run: Run, W: Array, dy: Array) -> tuple[Array, Array]:
    """Return dL/d(U x) and dL/d(W h) [T, B, G*H]; they are one array but for the GRU."""
    hidden = W.shape[1]
    d_pre = np.empty_like(run.acts)
    d_rec = np.empty_like(run.acts) if cell == "gru" else d_pre
    carried = np.zeros_like(dy[0])
    dc = np.zeros_like(dy[0])
    for t in reversed(range(len(dy))):
        dh = dy[t] + carried
        h = run.h[t + 1]
        if cell == "gru":
            r, z, n = np.split(run.acts[t], 3, axis=1)
            d_n = dh * (1 - z)
            carried = dh * z
            d_z = dh - d_n
            d_n *= 1 - n * n
            d_z *= run.h[t] - n
            d_z *= 1 - z
            np.multiply(d_n * run.extra[t], r * (1 - r), out=d_pre[t, :, :hidden])
            d_pre[t, :, hidden : 2 * hidden] = d_z
            d_pre[t, :, 2 * hidden :] = d_n
            d_rec[t, :, : 2 * hidden] = d_pre[t, :, : 2 * hidden]
            np.multiply(d_n, r, out=d_rec[t, :, 2 * hidden :])
            carried += d_rec[t] @ W
            continue
        if cell == "lstm":
            i, f, g, o = np.split(run.acts[t], 4, axis=1)
            d_i, d_f, d_g, d_o = np.split(d_pre[t], 4, axis=1)
            tanh_c = run.extra[t]
            np.multiply(dh * tanh_c, o * (1 - o), out=d_o)
            dc += dh * o * (1 - tanh_c * tanh_c)
            np.multiply(dc * g, i * (1 - i), out=d_i)
            np.multiply(dc * i, 1 - g * g, out=d_g)
            np.multiply(dc * run.c[t], f * (1 - f), out=d_f)
            dc *= f
        elif cell == "rnn_tanh":
            np.multiply(dh, 1 - h * h, out=d_pre[t])
        else:
            np.multiply(dh, h > 0, out=d_pre[t])
        carried = d_pre[t] @ W
    return d_pre, d_rec


def _sigmoid(a: Array) -> None:
    a *= 0.5
    np.tanh(a, out=a)
    a *= 0.5
    a += 0.5
