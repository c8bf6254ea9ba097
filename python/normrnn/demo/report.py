"""What a training run leaves behind, and tables to print it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import normrnn as nr

Array: TypeAlias = NDArray[Any]
Params: TypeAlias = dict[str, Array]
Penalty: TypeAlias = nr.L2 | Mapping[str, nr.L2] | None

WEIGHTS = {"weight_hh_l0": "‖W_hh‖", "weight_ih_l0": "‖W_ih‖"}  # Frobenius norms


@dataclass
class Run:
    """One network and its training.

    Attributes
    ----------
    label : str
        Its penalty, for tables and legends.
    params : dict of str to ndarray
        Its parameters.
    state : dict
        What the rule keeps between updates.
    penalty : Penalty, mapping or None
        As `normrnn.update` takes it.
    held_out, training : float
        Errors on these parts of the data, without the penalty: bits per character, or root mean
        square.
    h_norm : ndarray, [T]
        ‖∂L/∂h_t‖ at the T steps of a window, for a loss at its last step only.
    norms : dict of str to list of float
        For each of `WEIGHTS`, its norm before training and after each step.
    """

    label: str
    params: Params
    state: dict[str, Any]
    penalty: Penalty
    held_out: float = np.nan
    training: float = np.nan
    h_norm: Array = field(default_factory=lambda: np.empty(0))
    norms: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in WEIGHTS})

    def __post_init__(self) -> None:
        self.record_norms()

    def record_norms(self) -> None:
        """Note how large the weights are now."""
        for name, norms in self.norms.items():
            norms.append(float(np.linalg.norm(self.params[name])))

    @property
    def steps(self) -> int:
        """How many training steps were done."""
        return len(self.norms["weight_hh_l0"]) - 1

    @property
    def gradient_ratio(self) -> float:
        """max_t ‖∂L/∂h_t‖ / min_t ‖∂L/∂h_t‖."""
        low, high = float(self.h_norm.min()), float(self.h_norm.max())
        return high / low if low > 0 else np.inf


def label(strength: float) -> str:
    """Name a run after its penalty."""
    return f"L2, λ = {strength:g}" if strength else "λ = 0"


def summary(
    runs: Sequence[Run], error: str, block: tuple[str, slice], others: Mapping[str, float]
) -> str:
    """Tabulate the runs side by side: errors, sizes of the weights, the gradient through time.

    Parameters
    ----------
    runs : sequence of Run
        One column each.
    error : str
        What the errors are.
    block : tuple of str and slice
        A name, and the rows of ``weight_hh_l0`` to take the largest singular value of.
    others : mapping of str to float
        Held-out errors of other forecasts, for comparison.
    """
    symbol, rows = block
    weights = [run.params["weight_hh_l0"][rows] for run in runs]
    body = [
        ["training steps", *(str(run.steps) for run in runs)],
        [f"{error}, held out", *(f"{run.held_out:#.4g}" for run in runs)],
        [f"{error}, training part", *(f"{run.training:#.4g}" for run in runs)],
        *(
            [f"{norm}_F", *(f"{run.norms[name][-1]:#.4g}" for run in runs)]
            for name, norm in WEIGHTS.items()
        ),
        [f"σ₁({symbol})", *(f"{np.linalg.norm(w, 2):#.4g}" for w in weights)],
        ["max/min ‖∂L/∂h_t‖ in time", *(f"{run.gradient_ratio:.1e}" for run in runs)],
    ]
    for row in body:
        row += [""] * len(others)
    body[1][len(runs) + 1 :] = [f"{value:#.4g}" for value in others.values()]
    return table(["", *(run.label for run in runs), *others], body)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Set text in columns, the first to the left and the others to the right.

    Examples
    --------
    >>> print(table(["", "error"], [["mean", "60.2"], ["network", "9.1"]]))
             error
    mean      60.2
    network    9.1
    """
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        first, *others = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)
