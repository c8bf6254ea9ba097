"""The update in plain NumPy, in place and with buffers that are made once."""

from __future__ import annotations

import math

import numpy as np

from bench.peers.contract import Arrays, Call, Peer
from bench.update_points import UpdateProblem

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def prepare(problem: UpdateProblem, _threads: int) -> dict[str, Call]:
    point = problem.point
    params = {name: w.copy() for name, w in problem.params.items()}
    buffers = {name: (np.empty_like(w), np.empty_like(w)) for name, w in params.items()}
    means = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in params.items()}
    count = 0

    def update() -> Arrays:
        nonlocal count
        count += 1
        for name, w in params.items():
            g, step = buffers[name]
            np.multiply(w, point.decay, out=g)
            g += problem.grads[name]
            if point.rule == "adam":
                m, v = means[name]
                adam(m, v, g, step, count)
            step_size = -point.lr / (1 - BETA1**count) if point.rule == "adam" else -point.lr
            g *= step_size
            w += g
        return params

    return {"update": Call(update, dict)}


def adam(m: np.ndarray, v: np.ndarray, g: np.ndarray, buffer: np.ndarray, count: int) -> None:
    """Update the running means m and v, and put m / (sqrt(v^) + eps) in place of g."""
    m *= BETA1
    np.multiply(g, 1 - BETA1, out=buffer)
    m += buffer
    v *= BETA2
    np.multiply(g, g, out=buffer)
    buffer *= 1 - BETA2
    v += buffer
    np.sqrt(v, out=buffer)
    buffer *= 1 / math.sqrt(1 - BETA2**count)
    buffer += EPS
    np.divide(m, buffer, out=g)


PEER = Peer("numpy", np.__version__, prepare)
