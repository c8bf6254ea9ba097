"""oneDNN's LSTM, called directly through PyTorch's operator for one layer and direction."""

from __future__ import annotations

from functools import partial

import torch

from bench.peers import torch_eager
from bench.peers.contract import Call, Peer, weights_of
from bench.points import Point, Problem

MODE_LSTM = 2  # as in torch's RNNBase
Tensor = torch.Tensor


def version() -> str:
    """Read it from PyTorch's description of its build."""
    _, _, rest = torch.__config__.show().partition("MKL-DNN ")
    return rest.split()[0] if rest else "absent"


def prepare(problem: Problem, threads: int) -> dict[str, Call]:
    torch.set_num_threads(threads)
    point = problem.point
    params = {name: torch.from_numpy(w).requires_grad_() for name, w in problem.params.items()}
    x, dy = torch.from_numpy(problem.x), torch.from_numpy(problem.dy)
    x_grad = x.clone().requires_grad_()
    zero = torch.zeros(1, point.batch, point.hidden)
    directions = ("", "_reverse")[: 1 + point.bidirectional]

    def direction(y: Tensor, suffix: str, train: bool) -> Tensor:
        return torch.ops.aten.mkldnn_rnn_layer(
            y,
            *weights_of(params, suffix),
            zero,
            zero,
            reverse=suffix.endswith("_reverse"),
            batch_sizes=[],
            mode=MODE_LSTM,
            hidden_size=point.hidden,
            num_layers=1,
            has_biases=True,
            bidirectional=False,
            batch_first=False,
            train=train,
        )[0]

    def run(y: Tensor, train: bool) -> Tensor:
        for layer in range(point.layers):
            outputs = [direction(y, f"l{layer}{d}", train) for d in directions]
            y = torch.cat(outputs, 2) if len(outputs) > 1 else outputs[0]
        return y

    @torch.inference_mode()
    def forward() -> Tensor:
        return run(x, False)

    def train() -> torch_eager.Tensors:
        return torch.autograd.grad(run(x_grad, True), [x_grad, *params.values()], dy)

    return {
        "forward": Call(forward, torch_eager.read_y),
        "tape": Call(lambda: run(x_grad, True), torch_eager.read_y),
        "train": Call(train, partial(torch_eager.read_gradients, list(params))),
    }


def lacks(point: Point) -> str | None:
    if not torch.backends.mkldnn.is_available():
        return "this PyTorch is built without oneDNN"
    return None if point.cell == "lstm" else "PyTorch's operator has the LSTM only"


PEER = Peer("onednn", version(), prepare, lacks)
