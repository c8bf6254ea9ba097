"""normrnn's own steps and updates with an option and without, and what a Monitor adds."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import normrnn as nr
from bench.norms.monitor import MonitorProblem
from bench.norms.steps import StepProblem
from bench.norms.updates import RULES, UpdateProblem
from bench.peers.contract import Arrays, Call, Peer
from bench.points import Problem
from normrnn import reference
from normrnn.results import Gradients


def prepare_steps(problem: StepProblem, threads: int) -> dict[str, Call]:
    nr.set_num_threads(threads)
    return step_calls(problem, nr)


def step_calls(problem: StepProblem, module: ModuleType) -> dict[str, Call]:
    """Return the calls of normrnn, or of its reference."""
    option = problem.option

    def step() -> Gradients:
        return train(problem.point.cell, problem.problem, option.forward, option.backward)

    def plain() -> Gradients:
        return train(problem.plain_cell, problem.plain, {}, {})

    def train(cell: str, one: Problem, forward: Any, backward: Any) -> Gradients:
        tape = module.forward(cell, one.x, one.params, **forward).tape
        gradients: Gradients = module.backward(tape, one.dy, **backward)
        return gradients

    return {"step": Call(step, read_gradients), "plain": Call(plain, read_gradients)}


def read_gradients(grads: Gradients) -> Arrays:
    return {"dx": grads.x} | grads.params


def prepare_updates(problem: UpdateProblem, threads: int) -> dict[str, Call]:
    nr.set_num_threads(threads)
    return update_calls(problem, nr, check_finite=False)


def update_calls(problem: UpdateProblem, module: ModuleType, **given: Any) -> dict[str, Call]:
    """Return the calls of normrnn, or of its reference; each has weights and slots of its own."""
    rule = RULES[problem.point.rule]

    def call(arguments: dict[str, Any]) -> Call:
        params = {name: w.copy() for name, w in problem.params.items()}
        state = nr.init_state(rule, params)
        arguments = arguments | given

        def update() -> Arrays:
            module.update(params, problem.grads, state, rule=rule, **arguments)
            return params

        return Call(update, dict)

    return {"step": call(problem.arguments), "plain": call({})}


def prepare_monitor(problem: MonitorProblem, threads: int) -> dict[str, Call]:
    """Train in blocks of some updates, with a record and without one."""
    nr.set_num_threads(threads)
    point, x, target = problem.point, problem.x, problem.target
    rule = nr.Adam(problem.lr)

    def call(monitor: nr.Monitor | None) -> Call:
        params = {name: w.copy() for name, w in problem.params.items()}
        state = nr.init_state(rule, params)

        def block() -> nr.Monitor | None:
            for step in range(point.steps):
                out = nr.forward(point.cell, x, params)
                loss, dy = nr.squared_error(out.y, target, reduction="mean")
                grads = nr.backward(out.tape, dy)
                info = nr.update(params, grads.params, state, rule=rule)
                if monitor is not None:
                    monitor.record(
                        step, params=params, grads=grads, info=info, tape=out.tape, loss=loss
                    )
            return monitor

        return Call(block, problem.read)

    sampled = {} if point.sampled is None else {"sampled": point.sampled}
    monitor = nr.Monitor(every=point.every, strict=True, **sampled)
    return {"step": call(monitor), "plain": call(None)}


STEPS = Peer("normrnn", nr.__version__, prepare_steps)
UPDATES = Peer("normrnn", nr.__version__, prepare_updates)
MONITOR = Peer("normrnn", nr.__version__, prepare_monitor)
REFERENCES = {
    "our_norms:STEPS": lambda problem: step_calls(problem, reference),
    "our_norms:UPDATES": lambda problem: update_calls(problem, reference),
}
