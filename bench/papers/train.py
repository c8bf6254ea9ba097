"""A network that answers at the last step of a sequence, and its training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import normrnn as nr

Array = NDArray[Any]
Loss = Callable[..., tuple[float, Array]]


class Batch(NamedTuple):
    """Inputs [T, B, I], what is asked for at each sequence's end, and lengths [B] or None."""

    x: Array
    target: Array
    lengths: Array | None = None


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; what nr.backward and nr.update take besides the arrays."""

    cell: str
    rule: nr.rules.Rule
    loss: Loss
    penalty: Any = None
    state_penalty: Any = None
    clip_norm: float | None = None


@dataclass
class Network:
    """Parameters in training."""

    recipe: Recipe
    params: dict[str, Array]
    state: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with what the rule remembers at first."""
        self.state = nr.init_state(self.recipe.rule, self.params)

    def answer(self, batch: Batch) -> Array:
        """Return what the head says at each sequence's end, [B, O]."""
        out = nr.forward(
            self.recipe.cell, batch.x, self.params, lengths=batch.lengths, need_grad=False
        )
        return nr.head_forward(out.h_n[-1], self.params)

    def step(
        self, batch: Batch, rule: nr.rules.Rule | None = None
    ) -> tuple[float, nr.results.UpdateInfo]:
        """Train on a batch once, with the recipe's rule or another of its kind.

        The loss before, without any penalty, and what was measured.
        """
        recipe = self.recipe
        out = nr.forward(recipe.cell, batch.x, self.params, lengths=batch.lengths)
        answer = nr.head_forward(out.h_n[-1], self.params)
        loss, d_answer = recipe.loss(answer, batch.target, reduction="mean")
        dh, head_grads = nr.head_backward(out.h_n[-1], d_answer, self.params)
        dh_n = np.zeros_like(out.h_n)
        dh_n[-1] = dh
        grads = nr.backward(out.tape, dh_n=dh_n, state_penalty=recipe.state_penalty)
        info = nr.update(
            self.params,
            grads.params | head_grads,
            self.state,
            rule=rule or recipe.rule,
            penalty=recipe.penalty,
            clip_norm=recipe.clip_norm,
        )
        return loss, info


def accuracy(network: Network, batch: Batch) -> float:
    """Return the fraction of sequences whose largest logit is the target's."""
    return float(np.mean(network.answer(batch).argmax(axis=1) == batch.target))


def spectral_start(
    params: Mapping[str, Array], radius: float, nonzero: int, rng: np.random.Generator
) -> None:
    """Draw ``weight_hh_l0`` with a few weights to each unit, scaled to a spectral radius.

    In place; biases become zero, and the input's weights standard normal over 10. The start that
    Pascanu et al. call smart tanh.
    """
    w = params["weight_hh_l0"]
    hidden = w.shape[1]
    w[...] = 0
    for row in w:
        row[rng.choice(hidden, min(nonzero, hidden), replace=False)] = rng.standard_normal(
            min(nonzero, hidden)
        )
    w *= radius / np.max(np.abs(np.linalg.eigvals(w)))
    params["weight_ih_l0"][...] = 0.1 * rng.standard_normal(params["weight_ih_l0"].shape)
    for name in params:
        if "bias" in name:
            params[name][...] = 0
