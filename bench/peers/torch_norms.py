"""PyTorch's way to state penalties, dropout and cells with norms: around torch.nn, or a loop.

A penalty of y is written down, and autograd goes through it; masks on x, y, between layers and on
W_hh can be put around torch.nn's layers. What goes into a step (masks of state and candidate,
zoneout, a hook on every h_t, layer norm, IndRNN) they cannot do, and Omega needs the gradients of
all steps: there the recurrence is a Python loop.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import normrnn as nr
from bench.norms.steps import SEED, Option, StepProblem
from bench.peers.contract import Arrays, Call, Peer
from bench.peers.torch_cells import Weights, loop
from bench.peers.torch_eager import read_gradients
from bench.peers.torch_masks import GivenMasks, Masks

MODULES = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
IN_A_STEP = ("state", "candidate", "zoneout_h", "zoneout_c")


def squares(y: Tensor) -> Tensor:
    return y.square().mean()


def steps_of_norm(y: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(y, dim=2)
    return torch.diff(norms, dim=0, prepend=torch.zeros_like(norms[:1]))


VALUES: dict[type, Callable[[Tensor], Tensor]] = {
    nr.ActivityL1: lambda y: y.abs().sum(),
    nr.ActivityL2: lambda y: y.square().sum(),
    nr.AR: squares,
    nr.TAR: lambda y: squares(torch.diff(y, dim=0)),
    nr.NormStabilizer: lambda y: squares(steps_of_norm(y)),
}


def prepare(problem: StepProblem, threads: int) -> dict[str, Call]:
    torch.set_num_threads(threads)
    point, option, one = problem.point, problem.option, problem.problem
    x = torch.from_numpy(one.x).requires_grad_()
    dy = torch.from_numpy(one.dy)
    params = {name: torch.from_numpy(w).requires_grad_() for name, w in one.params.items()}
    network = Network(point.cell, option, params)
    train = with_omega if any(isinstance(p, nr.Omega) for p in option.penalties) else plainly

    def step() -> list[Tensor]:
        return train(network, x, dy, Masks(option.dropout))

    def read(found: list[Tensor]) -> Arrays:
        if option.dropout is not None:  # its own masks differ from normrnn's, those they are not
            given = GivenMasks(option.dropout, SEED, point.times)
            found = train(network, x, dy, given)
        return read_gradients(list(params), found)

    return {"step": Call(step, read)}


class Network:
    """The layers, each as torch.nn has it or as a loop."""

    def __init__(self, cell: str, option: Option, params: dict[str, Tensor]):
        self.cell, self.option, self.params = cell, option, params
        of_nn = cell in ("rnn_tanh", "rnn_relu", "gru", "lstm")
        in_a_step = option.clip_state or any(Masks(option.dropout).p(kind) for kind in IN_A_STEP)
        self.modules = []
        if of_nn and not in_a_step:
            for layer in range(option.layers):
                inputs = params[f"weight_ih_l{layer}"].shape[1]
                hidden = params[f"weight_hh_l{layer}"].shape[1]
                given = {} if cell in MODULES else {"nonlinearity": cell.removeprefix("rnn_")}
                self.modules.append(MODULES.get(cell, torch.nn.RNN)(inputs, hidden, **given))

    def weights(self, layer: int, masks: Masks) -> Weights:
        """Return a layer's weights, without its number; W_hh as it is dropped."""
        end = f"_l{layer}"
        w = {n.removesuffix(end): p for n, p in self.params.items() if n.endswith(end)}
        return w | {"weight_hh": masks.scale("weight", w["weight_hh"])}

    def __call__(self, x: Tensor, masks: Masks) -> Tensor:
        """Return y [T, B, H]."""
        x = masks.scale("input", x)
        for layer in range(self.option.layers):
            w = self.weights(layer, masks)
            if self.modules:
                named = {f"{name}_l0": one for name, one in w.items()}
                x = torch.func.functional_call(self.modules[layer], named, (x,))[0]
            else:
                x = torch.stack(loop(self.cell, x, w, masks, self.look()))
            last = layer + 1 == self.option.layers
            x = masks.scale("output" if last else "between", x, layer=layer)
        return x

    def look(self) -> Callable[[Tensor], object] | None:
        """Return the hook that clips what comes back to h_t."""
        most = self.option.clip_state
        return None if most is None else lambda h: h.register_hook(lambda g: g.clamp(-most, most))


def plainly(network: Network, x: Tensor, dy: Tensor, masks: Masks) -> list[Tensor]:
    """Return the gradients of the loss and its penalties: one call of autograd."""
    y = network(x, masks)
    outputs, sent = [y], [dy]
    for penalty in network.option.penalties:
        outputs.append(penalty.strength * VALUES[type(penalty)](y))
        sent.append(None)
    return list(torch.autograd.grad(outputs, [x, *network.params.values()], sent))


def with_omega(network: Network, x: Tensor, dy: Tensor, masks: Masks) -> list[Tensor]:
    """Return the gradients with Omega's: those of all steps first, then its own one of W_hh."""
    (omega,) = network.option.penalties
    w = network.weights(0, masks)
    steps = loop(network.cell, x, w, masks)
    wanted = [x, *network.params.values(), *steps]
    found = list(torch.autograd.grad(torch.stack(steps), wanted, dy))
    h, g = torch.stack(steps).detach(), torch.stack(found[-len(steps) :])
    of_pre = g * (h > 0) if "relu" in network.cell else g * (1 - h * h)
    ratio = (of_pre @ w["weight_hh"]).norm(dim=2) / g.norm(dim=2)
    value = omega.strength * ((ratio.square() if omega.squared else ratio) - 1).square().sum()
    (pull,) = torch.autograd.grad(value, w["weight_hh"])
    place = 1 + list(network.params).index("weight_hh_l0")
    found[place] = found[place] + pull
    return found[: -len(steps)]


PEER = Peer("torch", torch.__version__, prepare)
