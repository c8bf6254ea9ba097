"""Elman cell: h' = phi(pre + rec), phi = tanh or ReLU.

Elman, Finding structure in time, Cognitive Science 14, 1990; ReLU: Le, Jaitly & Hinton,
arXiv:1504.00941.
"""

import numpy as np

from normrnn.reference.cells.base import Array, Arrays, Cell, Factor


class RnnTanh(Cell):
    """h' = tanh(pre + rec)."""

    name, gates, states = "rnn_tanh", 1, 1

    @staticmethod
    def forward(pre: Array, rec: Array, state: Arrays, drop: Factor = 1.0) -> tuple[Arrays, Arrays]:
        """Compute h' = tanh(pre + rec)."""
        return (np.tanh(pre + rec),), ()

    @staticmethod
    def backward(
        tape: Arrays,
        state: Arrays,
        state_next: Arrays,
        d_state_next: Arrays,
        drop: Factor = 1.0,
    ) -> tuple[Array, Array, Arrays]:
        """Compute d_pre = d_rec = dh' (1 - h'^2)."""
        (h_next,), (dh,) = state_next, d_state_next
        d_a = dh * (1 - h_next**2)
        return d_a, d_a, (np.zeros_like(dh),)


class RnnRelu(Cell):
    """h' = max(pre + rec, 0)."""

    name, gates, states = "rnn_relu", 1, 1

    @staticmethod
    def forward(pre: Array, rec: Array, state: Arrays, drop: Factor = 1.0) -> tuple[Arrays, Arrays]:
        """Compute h' = max(pre + rec, 0)."""
        return (np.maximum(pre + rec, 0),), ()

    @staticmethod
    def backward(
        tape: Arrays,
        state: Arrays,
        state_next: Arrays,
        d_state_next: Arrays,
        drop: Factor = 1.0,
    ) -> tuple[Array, Array, Arrays]:
        """Compute d_pre = d_rec = dh', and 0 where h' <= 0."""
        (h_next,), (dh,) = state_next, d_state_next
        d_a = dh * ~(h_next <= 0)
        return d_a, d_a, (np.zeros_like(dh),)
