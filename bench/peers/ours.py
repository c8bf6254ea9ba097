"""normrnn, as a user calls it: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

import normrnn as nr
from bench.peers.contract import Arrays, Call, Peer
from bench.points import Problem
from bench.training_points import TrainingProblem
from bench.update_points import UpdateProblem
from normrnn.results import Gradients, Output


def prepare(problem: Problem, threads: int) -> dict[str, Call]:
    return prepare_with(problem, threads, problem.point.precision)


def prepare_float32(problem: Problem, threads: int) -> dict[str, Call]:
    return prepare_with(problem, threads, None)


def prepare_with(problem: Problem, threads: int, precision: str | None) -> dict[str, Call]:
    nr.set_num_threads(threads)
    cell, x, params, dy = problem.cell, problem.x, problem.params, problem.dy
    lengths = problem.point.lengths
    # Inference, like the peers', has its weights packed before.
    frozen = nr.freeze(cell, params, precision=precision)

    def forward() -> Output:
        return nr.forward(cell, x, frozen, lengths=lengths, need_grad=False, precision=precision)

    def tape() -> Output:
        return nr.forward(cell, x, params, lengths=lengths, precision=precision)

    def train() -> Gradients:
        return nr.backward(tape().tape, dy)

    return {
        "forward": Call(forward, read_output),
        "tape": Call(tape, read_output),
        "train": Call(train, lambda grads: {"dx": grads.x} | grads.params),
    }


def read_output(out: Output) -> Arrays:
    return {"y": out.y}


def prepare_update(problem: UpdateProblem, threads: int) -> dict[str, Call]:
    nr.set_num_threads(threads)
    point, params, grads = problem.point, problem.params, problem.grads
    rule = {"sgd": nr.SGD, "adam": nr.Adam}[point.rule](lr=point.lr)
    penalty = nr.L2(point.decay / 2)  # its gradient is 2 λ w
    state = nr.init_state(rule, params)

    def update() -> nr.optimize.UpdateInfo:
        return nr.update(
            params, grads, state, rule=rule, penalty=penalty, check_finite=point.check_finite
        )

    return {"update": Call(update, lambda _: dict(params))}


def prepare_training(problem: TrainingProblem, threads: int) -> dict[str, Call]:
    nr.set_num_threads(threads)
    point, x, target, params = problem.point, problem.x, problem.target, problem.params
    rule, penalty = nr.Adam(lr=point.lr), nr.L2(point.decay / 2)
    state = nr.init_state(rule, params)

    def step() -> None:
        out = nr.forward(point.cell, x, params)
        _, dy = nr.squared_error(nr.head_forward(out.y, params), target, reduction="mean")
        dh, head_grads = nr.head_backward(out.y, dy, params)
        grads = nr.backward(out.tape, dh).params | head_grads
        nr.update(params, grads, state, rule=rule, penalty=penalty, clip_norm=point.clip_norm)

    def after_two(_: None) -> Arrays:
        step()
        return dict(params)

    return {"step": Call(step, after_two)}


SEQUENCE = Peer("normrnn", nr.__version__, prepare)
FLOAT32 = Peer("normrnn-float32", nr.__version__, prepare_float32)
UPDATE = Peer("normrnn", nr.__version__, prepare_update)
TRAINING = Peer("normrnn", nr.__version__, prepare_training)
