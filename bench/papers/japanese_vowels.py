"""Japanese Vowels: which of nine speakers said /ae/, from 12 cepstral channels of 7 to 29 steps.

An LSTM of 100 units that answers from its last state, trained with Adam whose steps shrink to
zero, on sequences with noise on them: without a penalty, and with L2 on all weights. How much noise
and how strong a penalty is chosen on the training sequences alone.

References
----------
Kudo, Toyama & Shimbo, Multidimensional curve classification using passing-through regions, Pattern
Recognition Letters 20, 1999: the data, 270 training and 370 test sequences. The files come with the
aeon package. Bishop, Training with noise is equivalent to Tikhonov regularization, Neural
Computation 7, 1995: what noise on the inputs does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import normrnn as nr
from bench.papers.train import Array, Batch, Network, Recipe, accuracy

HIDDEN, CLASSES, BATCH, EPOCHS, RATE = 100, 9, 27, 60, 0.01
NOISES = (0.0, 0.5, 1.0, 1.5)  # deviation, where every channel's is 1
STRENGTHS = (0.0, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
FOLDS, REPEATS = 5, 5


@dataclass(frozen=True)
class Data:
    """Sequences, scaled by the training sequences' mean and deviation of each channel."""

    train: Batch
    test: Batch


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


def train(batch: Batch, noise: float, strength: float, seed: int) -> Network:
    """Train from one seed, with fresh noise at every step and an L2 penalty on all weights."""
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
    for epoch in range(EPOCHS):
        order = rng.permutation(count)
        for begin in range(0, count, BATCH):
            left = 1 - (epoch + begin / count) / EPOCHS
            some = subset(batch, order[begin : begin + BATCH])
            noisy = some.x + noise * rng.standard_normal(some.x.shape, np.float32)
            network.step(some._replace(x=noisy), nr.Adam(RATE * left))
    return network


def cross_validated(batch: Batch, noise: float, strength: float) -> tuple[float, float]:
    """Mean accuracy and cross-entropy over folds with as many sequences of every speaker.

    Each repeat has folds and a seed of its own, other seeds than those of the test.
    """
    scores = []
    for seed in range(100, 100 + REPEATS):
        order = np.random.default_rng(seed).permutation(len(batch.target))
        order = order[np.argsort(batch.target[order], kind="stable")]
        for fold in range(FOLDS):
            held = order[fold::FOLDS]
            network = train(subset(batch, np.setdiff1d(order, held)), noise, strength, seed)
            rows = subset(batch, held)
            loss, _ = nr.softmax_cross_entropy(network.answer(rows), rows.target, reduction="mean")
            scores.append((accuracy(network, rows), loss))
    right, lost = np.mean(scores, axis=0)
    return float(right), float(lost)
