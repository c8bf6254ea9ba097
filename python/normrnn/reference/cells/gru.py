"""Gated recurrent unit, the variant that resets after the product with W; gates r, z, n.

Cho et al., arXiv:1406.1078; reset after as in cuDNN, PyTorch and ONNX's linear_before_reset=1.
"""

import numpy as np

from normrnn.reference.cells.base import Array, Arrays, Cell, Factor, sigmoid


class Gru(Cell):
    """h' = (1 - z) D n + z h, with r, z = sigmoid(pre + rec) and n = tanh(pre_n + r rec_n)."""

    name, gates, states, candidate = "gru", 3, 1, True

    @staticmethod
    def forward(pre: Array, rec: Array, state: Arrays, drop: Factor = 1.0) -> tuple[Arrays, Arrays]:
        """Compute r, z, n and h' = (1 - z) D n + z h."""
        (h,) = state
        pre_r, pre_z, pre_n = np.split(pre, 3, axis=1)
        rec_r, rec_z, rec_n = np.split(rec, 3, axis=1)
        r = sigmoid(pre_r + rec_r)
        z = sigmoid(pre_z + rec_z)
        n = np.tanh(pre_n + r * rec_n)
        return ((1 - z) * drop * n + z * h,), (r, z, n, rec_n)

    @staticmethod
    def backward(
        tape: Arrays,
        state: Arrays,
        state_next: Arrays,
        d_state_next: Arrays,
        drop: Factor = 1.0,
    ) -> tuple[Array, Array, Arrays]:
        """Compute d_pre and d_rec, which differ in the n part only: there rec passes through r."""
        (h,), (dh,) = state, d_state_next
        r, z, n, rec_n = tape
        d_n = dh * (1 - z) * drop * (1 - n**2)
        d_r = d_n * rec_n * r * (1 - r)
        d_z = dh * (h - drop * n) * z * (1 - z)
        d_pre = np.concatenate([d_r, d_z, d_n], axis=1)
        d_rec = np.concatenate([d_r, d_z, d_n * r], axis=1)
        return d_pre, d_rec, (dh * z,)
