"""The adding problem: which networks remember two numbers over 200 and 600 steps.

LSTM, GRU, and a tanh network, plain, with soft orthogonality on W_hh, and with Omega, all trained
by Adam with clipped gradients, against always answering 1, whose squared error is 1/6.

References
----------
The LSTM's biases at first: Tallec & Ollivier, Can recurrent neural networks warp time?,
arXiv:1804.11188, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import normrnn as nr
from bench.papers.tasks import adding
from bench.papers.train import Array, Batch, Network, Recipe, spectral_start

HIDDEN, BATCH, CLIP = 64, 32, 1.0
BASELINE = 1 / 6
SOLVED = 0.01  # squared error on fresh sequences


@dataclass(frozen=True)
class Way:
    """A network and what holds it."""

    name: str
    cell: str
    rate: float
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
    Way("LSTM", "lstm", 5e-3),
    Way("GRU", "gru", 5e-3),
    Way("tanh", "rnn_tanh", 2e-3),
    Way("tanh, soft orthogonality", "rnn_tanh", 2e-3, orthogonality=1.0),
    Way("tanh, Omega", "rnn_tanh", 1e-3, omega=1.0),
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
    curve: tuple[tuple[int, float], ...]  # updates and error, wherever it was measured


def run(way: Way, length: int, seed: int, most: int, check_every: int = 100) -> Outcome:
    """Train until the squared error of fresh sequences is below 0.01, or for `most` updates.

    The step size goes down linearly, and would be zero after `most`. The error is measured after
    `check_every` updates, later after a twentieth of all so far.
    """
    rng = np.random.default_rng([seed, length])
    params = nr.init_params(way.cell, 2, HIDDEN, output_size=1, rng=seed)
    _start(way, params, length, rng)
    network = Network(
        Recipe(way.cell, nr.Adam(way.rate), nr.squared_error, clip_norm=CLIP, **way.terms), params
    )
    test = Batch(*adding(length, 2000, np.random.default_rng(1)))
    error, updates = np.inf, 0
    curve: list[tuple[int, float]] = []
    while updates < most and error >= SOLVED:
        steps = min(max(check_every, updates // 20), most - updates)
        for update in range(updates, updates + steps):
            rule = nr.Adam(way.rate * (1 - update / most))
            network.step(Batch(*adding(length, BATCH, rng)), rule)
        updates += steps
        error = float(np.mean((network.answer(test) - test.target) ** 2))
        curve.append((updates, round(error, 5)))
    solved = error < SOLVED
    return Outcome(way.name, length, seed, solved, updates, round(error, 5), tuple(curve))


def _start(way: Way, params: dict[str, Array], length: int, rng: np.random.Generator) -> None:
    """Put some of the parameters where such a network learns this fastest, in place."""
    if way.cell == "lstm":  # gates that remember for 1 to T steps
        times = np.log(rng.uniform(1, length - 1, HIDDEN))
        params["bias_hh_l0"][...] = 0
        params["bias_ih_l0"][...] = np.concatenate([-times, times, np.zeros(2 * HIDDEN)])
    elif way.omega:
        spectral_start(params, 0.95, 15, rng)
    elif way.cell == "rnn_tanh":  # the identity, which is where the penalty holds it
        params["weight_hh_l0"][...] = np.eye(HIDDEN)
        params["weight_ih_l0"][...] = 0.5 * rng.standard_normal((HIDDEN, 2))
        for name in ("bias_ih_l0", "bias_hh_l0"):
            params[name][...] = 0
