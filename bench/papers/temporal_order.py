"""Pascanu, Mikolov & Bengio, arXiv:1211.5063, section 4.1: the temporal-order task.

A tanh network of 50 units, trained by plain stochastic gradient descent on sequences of one length:
without anything, with clipped gradients, with the regulariser Omega, and with both. The paper's
figure 7: only the last finds the solution every time, up to 200 steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import normrnn as nr
from bench.papers.tasks import temporal_order
from bench.papers.train import Batch, Network, Recipe, accuracy, spectral_start

HIDDEN, BATCH, RATE, CLIP, OMEGA = 50, 20, 0.01, 1.0, 4.0
SOLVED = 0.99  # of 10,000 fresh sequences, as in the paper


@dataclass(frozen=True)
class Way:
    """A way to train."""

    name: str
    clip_norm: float | None
    omega: float | None


WAYS = (
    Way("SGD", None, None),
    Way("SGD, clipped", CLIP, None),
    Way("Omega, not clipped", None, OMEGA),
    Way("clipped, Omega", CLIP, OMEGA),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    way: str
    length: int
    seed: int
    solved: bool
    updates: int
    accuracy: float


def run(way: Way, length: int, seed: int, most: int, check_every: int = 500) -> Outcome:
    """Train until 99 % of fresh sequences are right, or for `most` updates."""
    rng = np.random.default_rng([seed, length])
    params = nr.init_params("rnn_tanh", 6, HIDDEN, output_size=4, rng=seed)
    spectral_start(params, 0.95, 15, rng)
    recipe = Recipe(
        "rnn_tanh",
        nr.SGD(RATE),
        nr.softmax_cross_entropy,
        state_penalty=None if way.omega is None else nr.Omega(way.omega / BATCH),
        clip_norm=way.clip_norm,
    )
    network = Network(recipe, params)
    best, updates = 0.0, 0
    while updates < most and best < SOLVED:
        steps = min(check_every, most - updates)
        for _ in range(steps):
            network.step(Batch(*temporal_order(length, BATCH, rng)))
        updates += steps
        if not all(np.isfinite(w).all() for w in params.values()):
            break
        best = accuracy(network, Batch(*temporal_order(length, 1000, rng)))
        if best >= SOLVED:  # a thousand say so: ask ten thousand
            best = accuracy(network, Batch(*temporal_order(length, 10_000, rng)))
    return Outcome(way.name, length, seed, best >= SOLVED, updates, best)
