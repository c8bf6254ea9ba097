"""PyTorch's two ways to train on a ragged batch: packed, or padded and computed to the end.

The packed input is made before the clock starts. The padded run sends no gradient past a sequence's
end, which gives the same gradients at the price of all T steps.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bench.peers import torch_eager
from bench.peers.contract import Call, Peer
from bench.points import Point, Problem


def prepare_packed(problem: Problem, threads: int) -> dict[str, Call]:
    torch.set_num_threads(threads)
    module = torch_eager.module_of(problem)
    names, params = zip(*module.named_parameters(), strict=True)
    lengths = torch.from_numpy(problem.point.lengths)
    x = torch.from_numpy(problem.x).requires_grad_()
    packed = pack_padded_sequence(x.detach(), lengths, enforce_sorted=False)
    packed.data.requires_grad_()
    dy = pack_padded_sequence(torch.from_numpy(problem.dy), lengths, enforce_sorted=False).data

    def train() -> torch_eager.Tensors:
        return torch.autograd.grad(module(packed)[0].data, [packed.data, *params], dy)

    def read(gradients: torch_eager.Tensors) -> dict[str, np.ndarray]:
        dx = packed._replace(data=gradients[0])
        unpacked = pad_packed_sequence(dx, total_length=problem.point.times)[0]
        return torch_eager.read_gradients(names, [unpacked, *gradients[1:]])

    return {"train": Call(train, read)}


def prepare_padded(problem: Problem, threads: int) -> dict[str, Call]:
    return {"train": torch_eager.prepare(problem, threads)["train"]}


def lacks_padded(point: Point) -> str | None:
    return "a reverse direction would begin in the padding" if point.bidirectional else None


PACKED = Peer("torch-packed", torch.__version__, prepare_packed)
PADDED = Peer("torch-padded", torch.__version__, prepare_padded, lacks_padded)
