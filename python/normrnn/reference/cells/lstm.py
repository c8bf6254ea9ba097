"""Long short-term memory; gates i, f, g, o; states h and c.

Hochreiter & Schmidhuber, Neural Computation 9, 1997; forget gate: Gers, Schmidhuber & Cummins,
Neural Computation 12, 2000.
"""

import numpy as np

from normrnn.reference.cells.base import Array, Arrays, Cell, Factor, sigmoid


class Lstm(Cell):
    """c' = f c + i D g and h' = o tanh(c'); i, f, o = sigmoid(pre + rec), g = tanh(pre + rec)."""

    name, gates, states, candidate = "lstm", 4, 2, True

    @staticmethod
    def forward(pre: Array, rec: Array, state: Arrays, drop: Factor = 1.0) -> tuple[Arrays, Arrays]:
        """Compute the gates, c' = f c + i D g and h' = o tanh(c')."""
        _, c = state
        a_i, a_f, a_g, a_o = np.split(pre + rec, 4, axis=1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        c_next = f * c + i * drop * g
        return (o * np.tanh(c_next), c_next), (i, f, g, o)

    @staticmethod
    def backward(
        tape: Arrays,
        state: Arrays,
        state_next: Arrays,
        d_state_next: Arrays,
        drop: Factor = 1.0,
    ) -> tuple[Array, Array, Arrays]:
        """Compute d_pre = d_rec from s = dc' + dh' o (1 - tanh(c')^2), all that reaches c'."""
        (_, c), (_, c_next), (dh, dc) = state, state_next, d_state_next
        i, f, g, o = tape
        tanh_c = np.tanh(c_next)
        s = dc + dh * o * (1 - tanh_c**2)
        d_i = s * drop * g * i * (1 - i)
        d_f = s * c * f * (1 - f)
        d_g = s * drop * i * (1 - g**2)
        d_o = dh * tanh_c * o * (1 - o)
        d_a = np.concatenate([d_i, d_f, d_g, d_o], axis=1)
        return d_a, d_a, (np.zeros_like(dh), s * f)
