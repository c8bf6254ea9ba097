"""Numba: the loop over time compiled, with SciPy's BLAS for W h and fused gates; forward only."""

from __future__ import annotations

import math

import numba
import numpy as np
import scipy.linalg  # noqa: F401  (np.dot inside Numba calls its BLAS)
from numba import njit, prange

from bench.peers import numpy_loop
from bench.peers.contract import Call, Peer
from bench.peers.numpy_cells import Array
from bench.points import Problem

compiled = njit(parallel=True, fastmath=True)


@njit(fastmath=True)
def sigmoid(a):
    return 0.5 * math.tanh(0.5 * a) + 0.5


@compiled
def elman(pre, wt, y, relu):
    times, batch, hidden = y.shape
    h = np.zeros((batch, hidden), y.dtype)
    rec = np.empty((batch, hidden), y.dtype)
    for t in range(times):
        np.dot(h, wt, rec)
        for b in prange(batch):
            for j in range(hidden):
                a = pre[t, b, j] + rec[b, j]
                h[b, j] = max(a, 0) if relu else math.tanh(a)
                y[t, b, j] = h[b, j]


@compiled
def gru(pre, wt, y, b_hn):
    times, batch, hidden = y.shape
    h = np.zeros((batch, hidden), y.dtype)
    rec = np.empty((batch, 3 * hidden), y.dtype)
    for t in range(times):
        np.dot(h, wt, rec)
        for b in prange(batch):
            for j in range(hidden):
                r = sigmoid(pre[t, b, j] + rec[b, j])
                z = sigmoid(pre[t, b, hidden + j] + rec[b, hidden + j])
                n = math.tanh(pre[t, b, 2 * hidden + j] + r * (rec[b, 2 * hidden + j] + b_hn[j]))
                h[b, j] = n + z * (h[b, j] - n)
                y[t, b, j] = h[b, j]


@compiled
def lstm(pre, wt, y):
    times, batch, hidden = y.shape
    h = np.zeros((batch, hidden), y.dtype)
    c = np.zeros((batch, hidden), y.dtype)
    rec = np.empty((batch, 4 * hidden), y.dtype)
    for t in range(times):
        np.dot(h, wt, rec)
        for b in prange(batch):
            for j in range(hidden):
                i = sigmoid(pre[t, b, j] + rec[b, j])
                f = sigmoid(pre[t, b, hidden + j] + rec[b, hidden + j])
                g = math.tanh(pre[t, b, 2 * hidden + j] + rec[b, 2 * hidden + j])
                o = sigmoid(pre[t, b, 3 * hidden + j] + rec[b, 3 * hidden + j])
                c[b, j] = f * c[b, j] + i * g
                h[b, j] = o * math.tanh(c[b, j])
                y[t, b, j] = h[b, j]


def loop(cell: str, pre: Array, W: Array, b_hn: Array) -> tuple[Array, None]:
    y = np.empty((*pre.shape[:2], W.shape[1]), pre.dtype)
    wt = np.ascontiguousarray(W.T)
    if cell == "gru":
        gru(pre, wt, y, b_hn)
    elif cell == "lstm":
        lstm(pre, wt, y)
    else:
        elman(pre, wt, y, cell == "rnn_relu")
    return y, None


def prepare(problem: Problem, threads: int) -> dict[str, Call]:
    numba.set_num_threads(threads)
    return {"forward": Call(lambda: numpy_loop.forward(problem, loop)[0], lambda y: {"y": y})}


PEER = Peer("numba", numba.__version__, prepare)
