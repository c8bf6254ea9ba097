"""Cells on normalised products: pre = LN(x U^T) gain_ih + b_ih, rec = LN(h W^T) gain_hh + b_hh.

Ba, Kiros & Hinton, Layer Normalization, arXiv:1607.06450. The normalisation is in
reference/layer_norm.py; sequence.py applies it, and what a cell makes of pre and rec is the same.
"""

import numpy as np

from normrnn.reference.cells.base import Array, Arrays, Factor
from normrnn.reference.cells.elman import RnnRelu, RnnTanh
from normrnn.reference.cells.gru import Gru
from normrnn.reference.cells.lstm import Lstm
from normrnn.reference.layer_norm import normalise, normalise_backward


class RnnTanhLn(RnnTanh):
    """h' = tanh(pre + rec)."""

    name, layer_norm = "rnn_tanh_ln", True


class RnnReluLn(RnnRelu):
    """h' = max(pre + rec, 0)."""

    name, layer_norm = "rnn_relu_ln", True


class GruLn(Gru):
    """h' = (1 - z) n + z h."""

    name, layer_norm = "gru_ln", True


class LstmLn(Lstm):
    """c' = f c + i g as ever, but h' = o tanh(LN(c') gain_c + bias_c); c' is not normalised."""

    name, layer_norm, own = "lstm_ln", True, ("gain_c", "bias_c")

    @staticmethod
    def forward(
        pre: Array, rec: Array, state: Arrays, drop: Factor = 1.0, *own: Array
    ) -> tuple[Arrays, Arrays]:
        """Compute the gates and c' as the LSTM does, and h' from the normalised c'."""
        gain_c, bias_c = own
        (_, c_next), gates = Lstm.forward(pre, rec, state, drop)
        z, norm = normalise(c_next, gain_c, bias_c)
        return (gates[3] * np.tanh(z), c_next), (*gates, np.tanh(z), gain_c, *norm)

    @staticmethod
    def backward(
        tape: Arrays,
        state: Arrays,
        state_next: Arrays,
        d_state_next: Arrays,
        drop: Factor = 1.0,
    ) -> tuple[Array, Array, Arrays]:
        """Compute d_pre = d_rec from s = dc' + (what the normalisation makes of dL/dz)."""
        (_, c), (dh, dc) = state, d_state_next
        i, f, g, o, tanh_z, gain_c, *norm = tape
        d_c, d_gain, d_bias = normalise_backward(dh * o * (1 - tanh_z**2), gain_c, tuple(norm))
        s = dc + d_c
        d_i = s * drop * g * i * (1 - i)
        d_f = s * c * f * (1 - f)
        d_g = s * drop * i * (1 - g**2)
        d_o = dh * tanh_z * o * (1 - o)
        d_a = np.concatenate([d_i, d_f, d_g, d_o], axis=1)
        return d_a, d_a, (np.zeros_like(dh), s * f, d_gain, d_bias)
