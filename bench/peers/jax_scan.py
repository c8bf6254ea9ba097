"""JAX: lax.scan under jit, U x as one product before it, gradients by value_and_grad.

JAX takes its threads from the CPUs that the process may run on: the runner's affinity pins it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bench.peers.contract import Arrays, Call, Peer, summed_bias, weights_of
from bench.points import Problem


def step(cell: str, state: Any, pre: Any, W: Any, b_hn: Any) -> Any:
    """One step after U x: pre [B, G*H], with all biases but the GRU's b_hn."""
    rec = state[0] @ W.T
    if cell == "lstm":
        i, f, g, o = jnp.split(pre + rec, 4, 1)
        c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        state = (jax.nn.sigmoid(o) * jnp.tanh(c), c)
    elif cell == "gru":
        both = 2 * rec.shape[1] // 3
        r, z = jnp.split(jax.nn.sigmoid(pre[:, :both] + rec[:, :both]), 2, 1)
        n = jnp.tanh(pre[:, both:] + r * (rec[:, both:] + b_hn))
        state = (n + z * (state[0] - n),)
    else:
        activation = jnp.tanh if cell == "rnn_tanh" else jax.nn.relu
        state = (activation(pre + rec),)
    return state, state[0]


def network(cell: str, layers: int, directions: int, x: Any, params: Any) -> Any:
    """Run all layers and directions: y [T, B, D*H]."""
    for layer in range(layers):
        outputs = []
        for direction in ("", "_reverse")[:directions]:
            U, W, b_ih, b_hh = weights_of(params, f"l{layer}{direction}")
            pre = x @ U.T + summed_bias(cell, b_ih, b_hh, jnp.concatenate)
            zero = jnp.zeros((x.shape[1], W.shape[1]), x.dtype)
            state = (zero, zero) if cell == "lstm" else (zero,)
            b_hn = b_hh[-W.shape[1] :]
            _, y = lax.scan(
                lambda state, pre, W=W, b_hn=b_hn: step(cell, state, pre, W, b_hn),
                state,
                pre,
                reverse=bool(direction),
            )
            outputs.append(y)
        x = jnp.concatenate(outputs, 2) if directions > 1 else outputs[0]
    return x


def prepare(problem: Problem, _threads: int) -> dict[str, Call]:
    jax.clear_caches()  # of the last point
    point = problem.point
    x, dy = jnp.asarray(problem.x), jnp.asarray(problem.dy)
    params = {name: jnp.asarray(w) for name, w in problem.params.items()}

    def run(x: Any, params: Any) -> Any:
        return network(point.cell, point.layers, 1 + point.bidirectional, x, params)

    def loss(x: Any, params: Any) -> Any:
        return jnp.vdot(run(x, params), dy)

    forward = jax.jit(run)
    tape = jax.jit(lambda x, params: jax.vjp(run, x, params))  # the residuals come out with y
    train = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))

    def read_train(result: Any) -> Arrays:
        _, (dx, gradients) = result
        return {"dx": np.asarray(dx)} | {name: np.asarray(g) for name, g in gradients.items()}

    return {
        "forward": Call(lambda: forward(x, params).block_until_ready(), read_y),
        "tape": Call(lambda: jax.block_until_ready(tape(x, params)), lambda r: read_y(r[0])),
        "train": Call(lambda: jax.block_until_ready(train(x, params)), read_train),
    }


def read_y(y: Any) -> Arrays:
    return {"y": np.asarray(y)}


PEER = Peer("jax", jax.__version__, prepare)
