"""NumPy: layers and directions around the loops of numpy_cells.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.peers import numpy_cells
from bench.peers.contract import Arrays, Call, Peer, summed_bias, weights_of
from bench.peers.numpy_cells import Array, Run
from bench.points import Point, Problem

Loop = Callable[[str, Array, Array, Array], tuple[Array, Run | None]]


def loop(cell: str, pre: Array, W: Array, b_hn: Array) -> tuple[Array, Run | None]:
    run = numpy_cells.forward(cell, pre, W, b_hn)
    return run.h[1:], run


def forward(
    problem: Problem, loop: Loop = loop
) -> tuple[Array, dict[str, tuple[Array, Run | None]]]:
    """Return y, and for each layer and direction its input and what its loop keeps."""
    point, y, kept = problem.point, problem.x, {}
    for layer in range(point.layers):
        x, outputs = y, []
        for suffix in suffixes(point, layer):
            U, W, b_ih, b_hh = weights_of(problem.params, suffix)
            bias = summed_bias(point.cell, b_ih, b_hh)
            given = in_order(x, suffix)
            pre = (given.reshape(-1, x.shape[2]) @ U.T).reshape(*x.shape[:2], -1)
            pre += bias
            y, run = loop(point.cell, pre, W, b_hh[-point.hidden :])
            kept[suffix] = (given, run)
            outputs.append(in_order(y, suffix))
        y = np.concatenate(outputs, axis=2) if len(outputs) > 1 else outputs[0]
    return y, kept


def train(problem: Problem) -> Arrays:
    """Run forward and backward: dx and the gradients of the parameters."""
    point, d_above, gradients = problem.point, problem.dy, {}
    _, kept = forward(problem)
    for layer in reversed(range(point.layers)):
        dx: Array | float = 0.0
        for k, suffix in enumerate(suffixes(point, layer)):
            x, run = kept[suffix]
            U, W, _, _ = weights_of(problem.params, suffix)
            side = slice(k * point.hidden, (k + 1) * point.hidden)
            dy = in_order(d_above[:, :, side], suffix)
            d_pre, d_rec = (
                d.reshape(-1, len(W)) for d in numpy_cells.backward(point.cell, run, W, dy)
            )
            gradients[f"weight_ih_{suffix}"] = d_pre.T @ x.reshape(len(d_pre), -1)
            gradients[f"weight_hh_{suffix}"] = d_rec.T @ run.h[:-1].reshape(len(d_rec), -1)
            gradients[f"bias_ih_{suffix}"] = d_pre.sum(axis=0)
            gradients[f"bias_hh_{suffix}"] = d_rec.sum(axis=0)
            dx = dx + in_order((d_pre @ U).reshape(x.shape), suffix)
        d_above = dx
    return {"dx": d_above} | gradients


def suffixes(point: Point, layer: int) -> list[str]:
    return [f"l{layer}{d}" for d in ("", "_reverse")[: 1 + point.bidirectional]]


def in_order(array: Array, suffix: str) -> Array:
    """Reverse time where a direction runs against it."""
    return array[::-1] if suffix.endswith("_reverse") else array


def prepare(problem: Problem, _threads: int) -> dict[str, Call]:
    return {
        "forward": Call(lambda: forward(problem)[0], lambda y: {"y": y}),
        "tape": Call(lambda: forward(problem), lambda result: {"y": result[0]}),
        "train": Call(lambda: train(problem), dict),
    }


PEER = Peer("numpy", np.__version__, prepare)
