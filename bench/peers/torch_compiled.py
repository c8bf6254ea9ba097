"""PyTorch through torch.compile.

torch.compile leaves nn.RNN, GRU and LSTM as they are. Unrolling all T steps takes minutes to
compile, so a chunk of some steps is compiled and called T/chunk times; U x is one product before.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear

from bench.peers import torch_eager
from bench.peers.contract import Call, Peer, summed_bias, weights_of
from bench.points import Problem

LONGEST = 12  # steps in a chunk: more gain little and take long to compile
Tensor = torch.Tensor
State = tuple[Tensor, ...]  # h, and c for the LSTM; [B, H] each


def step(cell: str, pre: Tensor, state: State, W: Tensor, b_hn: Tensor) -> State:
    """One step after U x: pre [B, G*H], with all biases but the GRU's b_hn."""
    h = state[0]
    if cell == "lstm":
        i, f, g, o = (pre + linear(h, W)).chunk(4, 1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
    if cell == "gru":
        pre_r, pre_z, pre_n = pre.chunk(3, 1)
        rec_r, rec_z, rec_n = linear(h, W).chunk(3, 1)
        r, z = torch.sigmoid(pre_r + rec_r), torch.sigmoid(pre_z + rec_z)
        n = torch.tanh(pre_n + r * (rec_n + b_hn))
        return (n + z * (h - n),)
    activation = torch.tanh if cell == "rnn_tanh" else torch.relu
    return (activation(pre + linear(h, W)),)


def chunk(
    cell: str, pre: Tensor, state: State, W: Tensor, b_hn: Tensor, reverse: bool
) -> tuple[Tensor, State]:
    """Run the steps of pre [steps, B, G*H]; the function that is compiled."""
    outputs = []
    for one in reversed(pre.unbind(0)) if reverse else pre.unbind(0):
        state = step(cell, one, state, W, b_hn)
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if reverse else outputs), state


def prepare(problem: Problem, threads: int) -> dict[str, Call]:
    torch.set_num_threads(threads)
    torch._dynamo.reset()
    point = problem.point
    compiled = torch.compile(partial(chunk, point.cell), dynamic=False)
    steps = max(n for n in range(1, LONGEST + 1) if point.times % n == 0)
    params = {name: torch.from_numpy(w).requires_grad_() for name, w in problem.params.items()}
    x, dy = torch.from_numpy(problem.x), torch.from_numpy(problem.dy)
    x_grad = x.clone().requires_grad_()
    directions = ("", "_reverse")[: 1 + point.bidirectional]
    states = 2 if point.cell == "lstm" else 1

    def direction(y: Tensor, suffix: str, grad: bool) -> Tensor:
        U, W, b_ih, b_hh = weights_of(params, suffix)
        pre = linear(y, U, summed_bias(point.cell, b_ih, b_hh, torch.cat))
        b_hn = b_hh[-point.hidden :]
        # One graph for the first chunk and for the others: their state has a gradient, too.
        state = (y.new_zeros(point.batch, point.hidden, requires_grad=grad),) * states
        reverse = suffix.endswith("_reverse")
        pieces = pre.split(steps)
        outputs = []
        for piece in reversed(pieces) if reverse else pieces:
            output, state = compiled(piece, state, W, b_hn, reverse)
            outputs.append(output)
        return torch.cat(outputs[::-1] if reverse else outputs)

    def run(y: Tensor, grad: bool) -> Tensor:
        for layer in range(point.layers):
            y = torch.cat([direction(y, f"l{layer}{d}", grad) for d in directions], 2)
        return y

    @torch.no_grad()
    def forward() -> Tensor:
        return run(x, False)

    def train() -> Any:
        return torch.autograd.grad(run(x_grad, True), [x_grad, *params.values()], dy)

    return {
        "forward": Call(forward, torch_eager.read_y),
        "tape": Call(lambda: run(x_grad, True), torch_eager.read_y),
        "train": Call(train, partial(torch_eager.read_gradients, list(params))),
    }


PEER = Peer("torch-compiled", torch.__version__, prepare)
