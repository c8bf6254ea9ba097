"""Synthetic tasks that only a memory over many steps solves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def temporal_order(
    length: int, batch: int, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64]]:
    """Draw sequences of distractors with two symbols whose order is the class.

    Each step shows one of six symbols. Two of them, A or B each, stand at a step drawn from
    [T/10, 2T/10) and one from [4T/10, 5T/10); the others are four distractors. The class is AA, AB,
    BA or BB, asked for at the last step.

    Returns
    -------
    x : ndarray, [T, B, 6]
        One-hot, float32.
    target : ndarray, [B]
        0 to 3.

    References
    ----------
    Hochreiter & Schmidhuber, Neural Computation 9, 1997, task 6a; positions as in Pascanu, Mikolov
    & Bengio, arXiv:1211.5063, section 4.1.
    """
    symbols = rng.integers(2, 6, (length, batch))
    first, second = rng.integers(0, 2, (2, batch))
    columns = np.arange(batch)
    symbols[rng.integers(length // 10, 2 * length // 10, batch), columns] = first
    symbols[rng.integers(4 * length // 10, 5 * length // 10, batch), columns] = second
    return np.eye(6, dtype=np.float32)[symbols], 2 * first + second


def adding(length: int, batch: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw sequences of numbers, two of them marked, whose sum is asked for at the last step.

    One mark stands in each half. Always answering 1 gives a squared error of 1/6.

    Returns
    -------
    x : ndarray, [T, B, 2]
        A number uniform in [0, 1), and 1 where it is marked; float32.
    target : ndarray, [B, 1]
        The sum of the two marked numbers.

    References
    ----------
    Hochreiter & Schmidhuber, Neural Computation 9, 1997, task 4; in this form Le, Jaitly & Hinton,
    arXiv:1504.00941.
    """
    numbers = rng.random((length, batch), np.float32)
    marks = np.zeros_like(numbers)
    columns = np.arange(batch)
    marks[rng.integers(0, length // 2, batch), columns] = 1
    marks[rng.integers(length // 2, length, batch), columns] = 1
    return np.stack([numbers, marks], axis=2), np.sum(numbers * marks, axis=0)[:, None]
