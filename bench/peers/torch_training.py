"""PyTorch's training loop: module, linear head, mean squared error, backward, clip, fused Adam."""

from __future__ import annotations

import torch
from torch import nn

from bench.peers.contract import Call, Peer
from bench.peers.torch_eager import module_of
from bench.points import Problem
from bench.training_points import TrainingProblem


def prepare(problem: TrainingProblem, threads: int) -> dict[str, Call]:
    torch.set_num_threads(threads)
    point, params = problem.point, problem.params
    x, target = torch.from_numpy(problem.x), torch.from_numpy(problem.target)
    recurrent = {name: w for name, w in params.items() if not name.endswith("_hy")}
    network = module_of(Problem(point.network, problem.x, problem.target, recurrent))
    head = nn.Linear(point.hidden, 1)
    head.load_state_dict(
        {name: torch.from_numpy(params[f"{name}_hy"]) for name in ("weight", "bias")}
    )
    named = dict(network.named_parameters())
    named |= {f"{name}_hy": w for name, w in head.named_parameters()}
    weights = [w for name, w in named.items() if name.startswith("weight")]
    biases = [w for name, w in named.items() if name.startswith("bias")]
    optimiser = torch.optim.Adam(
        [{"params": weights, "weight_decay": point.decay}, {"params": biases}],
        lr=point.lr,
        fused=True,
    )

    def step() -> None:
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(head(network(x)[0]), target)
        loss.backward()
        nn.utils.clip_grad_norm_([*weights, *biases], point.clip_norm)
        optimiser.step()

    def after_two(_: None) -> dict[str, torch.Tensor]:
        step()
        return {name: w.detach().numpy() for name, w in named.items()}

    return {"step": Call(step, after_two)}


PEER = Peer("torch", torch.__version__, prepare)
