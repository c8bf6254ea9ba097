"""Recurrent cells step by step: the loop that one writes in PyTorch where torch.nn will not do.

U x is done for all steps before the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from bench.peers.torch_masks import Masks

Weights = dict[str, Tensor]  # "weight_ih", "weight_hh", ...
Squash = Callable[[Tensor], Tensor]


def loop(
    cell: str, x: Tensor, w: Weights, masks: Masks, look: Callable[[Tensor], object] | None = None
) -> list[Tensor]:
    """One layer: every h_t [B, H]; `look` sees each of them as it is made."""
    u, v, b_ih, b_hh = (w[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    normed, diagonal = cell.endswith("_ln"), cell.startswith("indrnn")
    inputs = linear(x, u, None if normed else b_ih)
    if normed:
        inputs = layer_norm(inputs, u.shape[:1], w["gain_ih"], b_ih)
    h = c = x.new_zeros(x.shape[1], v.shape[-1])
    states = []
    for t, given in enumerate(inputs):
        taken = masks.scale("state", h, t)
        if diagonal:
            rec = v * taken + b_hh
        elif normed:
            rec = layer_norm(taken @ v.T, v.shape[:1], w["gain_hh"], b_hh)
        else:
            rec = linear(taken, v, b_hh)
        candidate = partial(masks.scale, "candidate", t=t)
        new_h, new_c = after(cell, given, rec, h, c, w, candidate)
        h, c = masks.zone("zoneout_h", new_h, h, t), masks.zone("zoneout_c", new_c, c, t)
        if look is not None:
            look(h)
        states.append(h)
    return states


def after(
    cell: str, given: Tensor, rec: Tensor, h: Tensor, c: Tensor, w: Weights, candidate: Squash
) -> tuple[Tensor, Tensor]:
    """Return h and c after a step."""
    if cell.startswith("gru"):
        r, z, n = given.chunk(3, 1)
        rec_r, rec_z, rec_n = rec.chunk(3, 1)
        n = candidate((n + (r + rec_r).sigmoid() * rec_n).tanh())
        return n + (z + rec_z).sigmoid() * (h - n), c
    if cell.startswith("lstm"):
        i, f, g, o = (given + rec).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * candidate(g.tanh())
        shown = layer_norm(c, c.shape[1:], w["gain_c"], w["bias_c"]) if "gain_c" in w else c
        return o.sigmoid() * shown.tanh(), c
    pre = given + rec
    return pre.relu() if "relu" in cell else torch.tanh(pre), c
