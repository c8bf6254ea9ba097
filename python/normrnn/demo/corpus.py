"""The text that ships inside CPython, the manual behind ``help()``, cut up for training."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from normrnn.demo.report import Array

Indices: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True)
class Corpus:
    """A text as class indices, with a part held out."""

    alphabet: list[str]  # every character of the text, sorted
    train: Indices
    held_out: Indices

    def one_hot(self, indices: Indices) -> Array:
        """Turn indices [...] into float32 vectors [..., I], I the size of the alphabet."""
        return np.eye(len(self.alphabet), dtype=np.float32)[indices]


def load() -> Corpus:
    """Read the manual's topics in the order of their names.

    Examples
    --------
    >>> corpus = load()
    >>> len(corpus.train) > 9 * len(corpus.held_out) - 10
    True
    """
    text = "".join(topics[name] for name in sorted(topics))
    alphabet = sorted(set(text))
    index = {character: i for i, character in enumerate(alphabet)}
    indices = np.array([index[character] for character in text])
    cut = len(indices) * 9 // 10
    return Corpus(alphabet, indices[:cut], indices[cut:])


def streams(indices: Indices, count: int) -> tuple[Indices, Indices]:
    """Cut a text into `count` streams [T, count], and the characters that follow each of them."""
    length = (len(indices) - 1) // count
    now, following = indices[: length * count], indices[1 : length * count + 1]
    return now.reshape(count, length).T, following.reshape(count, length).T


def batches(corpus: Corpus, batch: int, window: int) -> Iterator[tuple[Array, Indices, bool]]:
    """Walk through the training text, window after window, again and again.

    Yields
    ------
    x : ndarray, [window, batch, I]
        One-hot characters.
    target : ndarray, [window, batch]
        Indices of the characters that follow.
    at_start : bool
        Whether the text begins here, and so does the network's state.
    """
    x, target = streams(corpus.train, batch)
    for start in itertools.cycle(range(0, len(x) - window + 1, window)):
        part = slice(start, start + window)
        yield corpus.one_hot(x[part]), target[part], start == 0
