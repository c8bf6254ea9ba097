"""Training steps on a device, whose loops over time may be recorded as graphs; a program.

Arguments: a library of arrays, and a file for all results of all steps. It prints, as JSON, how
many graphs each case launched, how many of them in backward passes, and how many recordings failed.
"""

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np

import normrnn as nr
from devices import PLACES, Place
from normrnn import _core
from strategies import Problem, everything

STEPS = 5
LENGTHS = (9, 4, 0, 9, 7)
RAGGED = Problem("lstm", 9, 5, 4, 17, 2, True, True, False, LENGTHS, False, "float32", seed=0)
CASES: dict[str, tuple[Problem, dict[str, Any]]] = {
    "lstm": (RAGGED, {}),
    "gru in bfloat16": (replace(RAGGED, cell="gru"), {"precision": "bfloat16"}),
    "gru_ln in float64": (replace(RAGGED, cell="gru_ln", dtype="float64"), {}),
    "lstm with dropout": (RAGGED, everything("lstm")),
    "lstm of one length": (replace(RAGGED, lengths=None), {}),
}


def train(
    place: Place, problem: Problem, forward: dict[str, Any]
) -> tuple[dict[str, np.ndarray], int]:
    """Take steps with arrays that stay; with dropout each has masks and penalties of its own."""
    arrays = problem.arrays()
    x, dy, params = map(place.put_all, (arrays.x, arrays.dy, arrays.params))
    found: dict[str, np.ndarray] = {}
    backwards = 0

    def note(step: int, named: dict[str, Any]) -> None:
        found.update({f"{step} {name}": np.copy(place.get(a)) for name, a in named.items()})

    for step in range(STEPS):
        own = step if "dropout" in forward else 0
        options = problem.options | forward | ({"seed": step} if "dropout" in forward else {})
        out = nr.forward(problem.cell, x, params, **options)
        before, _ = _core.graph_counts()
        grads = nr.backward(out.tape, dy, state_penalty=nr.AR(0.1 + own), clip_state=1.0 + own)
        backwards += _core.graph_counts()[0] - before
        note(step, {"y": out.y, "h_n": out.h_n, "dx": grads.x, "h_norm": grads.h_norm})
        note(step, {f"d {name}": gradient for name, gradient in grads.params.items()})
        nr.update(params, grads.params, rule=nr.SGD(0.1))
        note(step, params)
        del out, grads  # the next step has their memory again, and so the same loops
    return found, backwards


def main(library: str, output: str) -> None:
    """Run all cases."""
    place = next(one for one in PLACES if one.name == library)
    counts, found = {}, {}
    for case, (problem, forward) in CASES.items():
        before = _core.graph_counts()
        results, backwards = train(place, problem, forward)
        found.update({f"{case}: {name}": array for name, array in results.items()})
        launches, failures = np.subtract(_core.graph_counts(), before).tolist()
        counts[case] = (launches, backwards, failures)
    np.savez(output, **found)
    print(json.dumps(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
