"""Masks of one training step: drawn by PyTorch where time is taken, normrnn's where results are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import dropout

import normrnn as nr
from normrnn.reference import masks as reference


class Masks:
    """PyTorch's own."""

    def __init__(self, probabilities: nr.Dropout | None):
        self.probabilities = probabilities
        self.of_sequences: dict[str, Tensor] = {}

    def p(self, kind: str) -> float:
        """Return the probability of being dropped."""
        return 0.0 if self.probabilities is None else getattr(self.probabilities, kind)

    def once(self, kind: str) -> bool:
        """Whether there is one mask for all steps."""
        assert self.probabilities is not None
        return kind == "state" or (self.probabilities.per_sequence and kind != "weight")

    def scale(self, kind: str, x: Tensor, t: int | None = None, layer: int = 0) -> Tensor:
        """Drop elements of x, [B, columns] at step t or [T, B, columns], and scale the others."""
        p = self.p(kind)
        if not p:
            return x
        if not self.once(kind):
            return dropout(x, p)
        if kind not in self.of_sequences:
            self.of_sequences[kind] = dropout(x.new_ones(x.shape[-2:]), p)
        return x * self.of_sequences[kind]

    def zone(self, kind: str, new: Tensor, old: Tensor, t: int) -> Tensor:
        """Keep some elements of the state before."""
        p = self.p(kind)
        return torch.where(torch.rand(new.shape) < p, old, new) if p else new


class GivenMasks(Masks):
    """Those that normrnn draws, as its reference defines them, for T steps."""

    def __init__(self, probabilities: nr.Dropout, seed: int, times: int):
        super().__init__(probabilities)
        self.seed, self.times = seed, times
        self.known: dict[str, Any] = {}

    def mask(self, kind: str, rows: int, columns: int, layer: int) -> np.ndarray[Any, Any]:
        """[T, rows, columns], or one for all T."""
        if kind not in self.known:
            assert self.probabilities is not None
            times = 1 if kind == "weight" else self.times
            shape = (times, rows, columns)
            given = (self.probabilities, self.seed, kind, 2 * layer, shape)
            if kind.startswith("zoneout"):
                self.known[kind] = reference.kept(*given)
            else:
                self.known[kind] = reference.factor(*given, np.float32)
        return self.known[kind]

    def scale(self, kind: str, x: Tensor, t: int | None = None, layer: int = 0) -> Tensor:
        """As `Masks`."""
        if not self.p(kind):
            return x
        rows = x.shape[-2] if x.ndim > 1 else 1  # W of an IndRNN is a vector, and has the first row
        mask = torch.from_numpy(self.mask(kind, rows, x.shape[-1], layer))
        if t is not None:
            mask = mask[min(t, len(mask) - 1)]
        return x * (mask if x.ndim == 3 else mask.reshape(x.shape))

    def zone(self, kind: str, new: Tensor, old: Tensor, t: int) -> Tensor:
        """As `Masks`."""
        if not self.p(kind):
            return new
        return torch.where(torch.from_numpy(self.mask(kind, *new.shape, 0)[t]), new, old)
