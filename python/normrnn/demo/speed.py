"""How long a training step takes in the core, and in the NumPy reference, on the same batch."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
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
    """Seconds per training step, and the largest relative difference between the gradients."""

    core: float
    reference: float
    difference: float

    def steps_in(self, seconds: float) -> int:
        """How many steps the core does in this time."""
        return max(1, round(seconds / self.core))

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
        The median of 20 steps of the core and of 5 of the reference, after one that is not timed.

    Raises
    ------
    ArithmeticError
        If losses or gradients differ by more than rounding.
    """
    loss, grads, core = _time(nr, step, params, rule, repeats=20)
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
    """Return loss and gradients of the first step, and the median time of those after it."""
    params = {name: w.copy() for name, w in params.items()}
    state = nr.init_state(rule, params)
    loss, grads = step(api, params, state)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step(api, params, state)
        times.append(time.perf_counter() - start)
    return loss, grads, median(times)
