"""Japanese Vowels: which of nine speakers said /ae/, from 12 cepstral channels of 7 to 29 steps.

An LSTM of 100 units that answers from its last state, trained with Adam: plain, and with a norm
penalty whose strength is chosen on the training sequences alone.

References
----------
Kudo, Toyama & Shimbo, Multidimensional curve classification using passing-through regions, Pattern
Recognition Letters 20, 1999: the data, 270 training and 370 test sequences. The files come with the
aeon package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import normrnn as nr
from bench.papers.train import Array, Batch, Network, Recipe, accuracy

HIDDEN, CLASSES, BATCH, RATE, EPOCHS = 100, 9, 27, 5e-3, 60
STRENGTHS = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
FOLDS = 5


@dataclass(frozen=True)
class Data:
    """Sequences, scaled by the training sequences' mean and deviation of each channel."""

    train: Batch
    test: Batch


@dataclass(frozen=True)
class Outcome:
    """What came out for one strength."""

    strength: float
    seeds: list[int]
    test_accuracy: list[float]
    seconds: list[float]


def load() -> Data:
    """Read the files of the aeon package; padded to the longest sequence, [T, B, 12]."""
    from aeon.datasets import load_japanese_vowels

    parts = [load_japanese_vowels(split=split) for split in ("train", "test")]
    steps = np.concatenate(parts[0][0], axis=1)
    mean, deviation = steps.mean(axis=1), steps.std(axis=1)
    batches = []
    for sequences, labels in parts:
        lengths = np.array([s.shape[1] for s in sequences])
        x = np.zeros((lengths.max(), len(sequences), len(mean)), np.float32)
        for i, s in enumerate(sequences):
            x[: lengths[i], i] = (s.T - mean) / deviation
        batches.append(Batch(x, np.asarray(labels, int) - 1, lengths))
    return Data(*batches)


def subset(batch: Batch, rows: Array) -> Batch:
    """Return some of the sequences, as long as their longest."""
    assert batch.lengths is not None
    lengths = batch.lengths[rows]
    return Batch(batch.x[: lengths.max(), rows], batch.target[rows], lengths)


def train(batch: Batch, strength: float, seed: int, epochs: int = EPOCHS) -> Network:
    """Train from one seed, with an L2 penalty on all weights."""
    rng = np.random.default_rng(seed)
    params = nr.init_params("lstm", batch.x.shape[2], HIDDEN, output_size=CLASSES, rng=seed)
    params["bias_ih_l0"][HIDDEN : 2 * HIDDEN] = 1  # remember at first: Gers et al. 2000
    recipe = Recipe(
        "lstm",
        nr.Adam(RATE),
        nr.softmax_cross_entropy,
        penalty=nr.L2(strength) if strength else None,
        clip_norm=1.0,
    )
    network = Network(recipe, params)
    count = len(batch.target)
    for _ in range(epochs):
        order = rng.permutation(count)
        for begin in range(0, count, BATCH):
            network.step(subset(batch, order[begin : begin + BATCH]))
    return network


def cross_validated(batch: Batch, strength: float, seeds: Sequence[int]) -> float:
    """Mean accuracy over folds of the training sequences, each with as many of every speaker."""
    speaker_order = np.argsort(batch.target, kind="stable")
    scores = []
    for seed in seeds:
        for fold in range(FOLDS):
            held = speaker_order[fold::FOLDS]
            rest = np.setdiff1d(speaker_order, held)
            network = train(subset(batch, rest), strength, seed)
            scores.append(accuracy(network, subset(batch, held)))
    return float(np.mean(scores))
