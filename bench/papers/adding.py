"""The adding problem: which networks remember two numbers over 200 and 600 steps.

LSTM, GRU, and a tanh network, plain, with soft orthogonality on W_hh, and with Omega, all trained
by Adam with clipped gradients, against always answering 1, whose squared error is 1/6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import normrnn as nr
from bench.papers.tasks import adding
from bench.papers.train import Batch, Network, Recipe

HIDDEN, BATCH, RATE, CLIP = 64, 32, 2e-3, 1.0
BASELINE = 1 / 6
SOLVED = 0.01  # squared error on fresh sequences


@dataclass(frozen=True)
class Way:
    """A network and what holds it."""

    name: str
    cell: str
    orthogonality: float = 0.0
    omega: float = 0.0

    @property
    def terms(self) -> dict[str, Any]:
        """What goes into the recipe."""
        return {
            "penalty": {"weight_hh_*": nr.SoftOrthogonality(self.orthogonality)}
            if self.orthogonality
            else None,
            "state_penalty": nr.Omega(self.omega / BATCH) if self.omega else None,
        }


WAYS = (
    Way("LSTM", "lstm"),
    Way("GRU", "gru"),
    Way("tanh", "rnn_tanh"),
    Way("tanh, soft orthogonality", "rnn_tanh", orthogonality=0.1),
    Way("tanh, Omega", "rnn_tanh", omega=1.0),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    way: str
    length: int
    seed: int
    solved: bool
    updates: int
    error: float


def run(
    way: Way,
    length: int,
    seed: int,
    most: int,
    check_every: int = 250,
    watch: Callable[[int, float], None] = lambda step, error: None,
) -> Outcome:
    """Train until the squared error of fresh sequences is below 0.01, or for `most` updates."""
    rng = np.random.default_rng([seed, length])
    params = nr.init_params(way.cell, 2, HIDDEN, output_size=1, rng=seed)
    if way.orthogonality:  # begin where the penalty holds it
        w = params["weight_hh_l0"]
        w[...] = np.linalg.qr(rng.standard_normal(w.shape))[0]
    network = Network(
        Recipe(way.cell, nr.Adam(RATE), nr.squared_error, clip_norm=CLIP, **way.terms), params
    )
    test = Batch(*adding(length, 500, np.random.default_rng(1)))
    error, updates = np.inf, 0
    while updates < most and error >= SOLVED:
        for _ in range(check_every):
            network.step(Batch(*adding(length, BATCH, rng)))
        updates += check_every
        error = float(np.mean((network.answer(test) - test.target) ** 2))
        watch(updates, error)
    return Outcome(way.name, length, seed, error < SOLVED, updates, error)
