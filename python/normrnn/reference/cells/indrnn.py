"""Independently recurrent network: each unit sees no state but its own, h' = phi(pre + u h + b_hh).

Li, Li, Cook, Zhu & Gao, Independently Recurrent Neural Network (IndRNN), arXiv:1803.04831.
"""

from normrnn.reference.cells.elman import RnnRelu, RnnTanh


class IndRnnTanh(RnnTanh):
    """h' = tanh(pre + rec) with rec = u h + b_hh, u a vector."""

    name, diagonal = "indrnn_tanh", True


class IndRnnRelu(RnnRelu):
    """h' = max(pre + rec, 0) with rec = u h + b_hh, u a vector."""

    name, diagonal = "indrnn_relu", True
