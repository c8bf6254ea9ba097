"""How long a training step takes, in the core and in the NumPy reference, and how many to do."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

import normrnn as nr
from normrnn import reference
from normrnn.demo.report import Params, table

# One training step: called with a module (normrnn or its reference: the functions have the same
# names), parameters and the rule's state, which it updates, it returns the loss and the gradients.
Step: TypeAlias = Callable[[ModuleType, Params, dict[str, Any]], tuple[float, Params]]

# Both sum the same terms, each in an order of its own: rounding then differs by some units in the
# last place of the largest terms, more where a recurrence carries it on.
TOLERANCE = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-10}


@dataclass(frozen=True)
class Speed:
    """Seconds of the fastest training step, and the largest relative difference of gradients."""

    core: float
    reference: float
    difference: float

    def plan(self, seconds: float, runs: int) -> tuple[int, float]:
        """Return how many steps a run can do in this time, and a limit in seconds for all runs."""
        return max(1, round(seconds / self.core)), 1.25 * seconds * runs

    def __str__(self) -> str:
        """Tabulate the times."""
        head = ["time per training step", "ms", "ratio"]
        rows = [
            ["normrnn", f"{1e3 * self.core:.2f}", "1"],
            ["its NumPy reference", f"{1e3 * self.reference:.2f}", f"{self.ratio:.1f}"],
        ]
        return (
            f"{table(head, rows)}\nLoss and gradients of the two agree: they differ by at most "
            f"{self.difference:.0e} of the largest element."
        )

    @property
    def ratio(self) -> float:
        """How many times as long the reference takes."""
        return self.reference / self.core


def progress(steps: int, limit: float = math.inf) -> Iterator[float]:
    """Yield before each training step how much of the training is done, from 0 to below 1.

    It ends after `steps` steps, or early when `limit` seconds are over, because other programs
    slow it down; the share of time is then what counts.

    Examples
    --------
    >>> list(progress(4))
    [0.0, 0.25, 0.5, 0.75]
    """
    start = time.perf_counter()
    for step in range(steps):
        done = max(step / steps, (time.perf_counter() - start) / limit)
        if done >= 1:
            return
        yield done


def compare(step: Step, params: Params, rule: nr.rules.Rule) -> Speed:
    """Check that core and reference agree on a training step, then time it in both.

    Parameters
    ----------
    step : callable
        The training step.
    params : dict of str to ndarray
        Where to start; not changed.
    rule : Rule
        Whose state the step updates.

    Returns
    -------
    Speed
        The fastest of 50 steps of the core and of 5 of the reference, after one that is not timed:
        what else the machine does can only make a step slower.

    Raises
    ------
    ArithmeticError
        If losses or gradients differ by more than rounding.
    """
    loss, grads, core = _time(nr, step, params, rule, repeats=50)
    true_loss, true_grads, slow = _time(reference, step, params, rule, repeats=5)
    difference = abs(loss - true_loss) / abs(true_loss)
    for name, true in true_grads.items():
        largest = float(np.abs(true).max())
        error = float(np.abs(grads[name] - true).max())
        difference = max(difference, error / largest if error else 0.0)
    if not difference <= TOLERANCE[params["weight_hh_l0"].dtype]:
        raise ArithmeticError(f"core and reference differ by {difference:.1e} of the gradient")
    return Speed(core, slow, difference)


def _time(
    api: ModuleType, step: Step, params: Params, rule: nr.rules.Rule, repeats: int
) -> tuple[float, Params, float]:
    """Return loss and gradients of the first step, and the time of the fastest after it."""
    params = {name: w.copy() for name, w in params.items()}
    state = nr.init_state(rule, params)
    loss, grads = step(api, params, state)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step(api, params, state)
        times.append(time.perf_counter() - start)
    return loss, grads, min(times)
