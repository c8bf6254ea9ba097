"""An Elman network forecasts next year's sunspot number from the years up to now.

A small regression with the definition that normrnn starts from: L = Σ_t ‖y_t − ŷ_t‖² + λ‖w‖², a
plain sum, and its step w ← w − α(∂L/∂w + 2λw), here with momentum. The training part ends with
1955; its mean and spread scale everything.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

import normrnn as nr
from normrnn.demo import pictures, report, speed
from normrnn.demo.report import Array, Params, Penalty, Run

# λ was chosen by training up to 1905 and looking at 1906 to 1955. Twice the step size is at the
# edge of stability: differences of rounding then grow until they show in the tables.
HIDDEN, LEARNING_RATE, CLIP_NORM, STRENGTH, STEPS = 32, 5e-4, 10.0, 1.0, 6000
LAST_TRAINING_YEAR = 1955


@dataclass(frozen=True)
class Series:
    """Yearly sunspot numbers, and the part of them to train on.

    Attributes
    ----------
    years, numbers : ndarray, [N]
        Years without a gap, and the sunspot number of each.
    cut : int
        How many of them are for training.
    """

    years: Array
    numbers: Array
    cut: int

    @property
    def mean(self) -> float:
        """Mean of the training part."""
        return float(self.numbers[: self.cut].mean())

    @property
    def spread(self) -> float:
        """Standard deviation of the training part."""
        return float(self.numbers[: self.cut].std())

    @property
    def x(self) -> Array:
        """Every year but the last, scaled, as one sequence [T, 1, 1], T = N − 1."""
        return ((self.numbers[:-1] - self.mean) / self.spread).reshape(-1, 1, 1)

    @property
    def target(self) -> Array:
        """The years that follow, in the same form."""
        return ((self.numbers[1:] - self.mean) / self.spread).reshape(-1, 1, 1)

    @property
    def training_part(self) -> tuple[Array, Array]:
        """Those steps of x and target whose target is in the training part."""
        return self.x[: self.cut - 1], self.target[: self.cut - 1]


def load() -> Series:
    """Read the series that comes with the package.

    Examples
    --------
    >>> series = load()
    >>> int(series.years[0]), int(series.years[-1]), float(series.numbers.max())
    (1700, 2008, 190.2)
    """
    with files("normrnn.demo").joinpath("sunspots.csv").open(encoding="utf-8") as file:
        rows = [line for line in file if line[0].isdigit()]
    years, numbers = np.loadtxt(rows, delimiter=",", unpack=True)
    return Series(years, numbers, int(np.searchsorted(years, LAST_TRAINING_YEAR, side="right")))


def train_step(
    api: ModuleType,
    params: Params,
    state: dict[str, Any],
    x: Array,
    target: Array,
    rule: nr.rules.Rule,
    penalty: Penalty,
) -> tuple[float, Params]:
    """Do one training step with normrnn, or with its NumPy reference, as `api`."""
    out = api.forward("rnn_tanh", x, params)
    y = api.head_forward(out.y, params)
    loss, dy = api.squared_error(y, target)
    dh, head_grads = api.head_backward(out.y, dy, params)
    grads = api.backward(out.tape, dh).params | head_grads
    api.update(params, grads, state, rule=rule, penalty=penalty, clip_norm=CLIP_NORM)
    return loss, grads


def start(strength: float, seed: int) -> Run:
    """Make a network, to be trained with the penalty strength·‖w‖² on all weights."""
    # float64: a gradient may get very small without becoming zero.
    params = nr.init_params("rnn_tanh", 1, HIDDEN, output_size=1, dtype="float64", rng=seed)
    state = nr.init_state(nr.Momentum(LEARNING_RATE), params)
    penalty = nr.L2(strength) if strength else None  # on every parameter but the biases
    return Run(report.label(strength), params, state, penalty)


def train(series: Series, runs: Sequence[Run], steps: int, limit: float) -> None:
    """Train the networks side by side; one step goes through all the years."""
    x, target = series.training_part
    for done in tqdm(speed.progress(steps, limit), total=steps, unit="step", disable=None):
        rule = nr.Momentum(LEARNING_RATE * min(1.0, 2 * (1 - done)))
        for run in runs:
            train_step(nr, run.params, run.state, x, target, rule, run.penalty)
            run.record_norms()
    for run in runs:
        forecasts = forecast(series, run.params)
        run.held_out = rmse(forecasts[series.cut - 1 :], series.numbers[series.cut :])
        run.training = rmse(forecasts[: series.cut - 1], series.numbers[1 : series.cut])
        run.h_norm = gradient_through_time(series, run.params)


def forecast(series: Series, params: Params) -> Array:
    """Forecast every year but the first, each from the true numbers of all years before it."""
    out = nr.forward("rnn_tanh", series.x, params, need_grad=False)
    y: Array = nr.head_forward(out.y, params)[:, 0, 0]
    return series.mean + series.spread * y


def rmse(forecasts: Array | float, numbers: Array) -> float:
    """Root mean square error, in sunspot numbers."""
    return float(np.sqrt(np.mean((numbers - forecasts) ** 2)))


def gradient_through_time(series: Series, params: Params) -> Array:
    """‖∂L/∂h_t‖ in the held-out years, where L is the squared error of the last one alone."""
    out = nr.forward("rnn_tanh", series.x, params)
    y = nr.head_forward(out.y, params)
    last = np.zeros(y.shape[:-1], dtype=bool)
    last[-1] = True
    _, dy = nr.squared_error(y, series.target, mask=last)
    dh, _ = nr.head_backward(out.y, dy, params)
    return np.asarray(nr.backward(out.tape, dh).h_norm[0, series.cut - 1 :])


def run(
    output: Path, *, steps: int | None, seconds: float | None, strength: float | None, seed: int
) -> None:
    """Train with λ = 0 and with L2 on all weights, print what came out, and draw it.

    Parameters
    ----------
    output : Path
        Where the picture goes.
    steps : int, optional
        Training steps of each run; 6000 by default.
    seconds : float, optional
        Instead of steps: about how long each run may train.
    strength : float, optional
        λ of the second run.
    seed : int
        Of the initial weights, the same for both runs.
    """
    series = load()
    strength = STRENGTH if strength is None else strength
    runs = [start(s, seed) for s in (0.0, strength)]
    rule = nr.Momentum(LEARNING_RATE)
    x, target = series.training_part

    def step(api: ModuleType, params: Params, state: dict[str, Any]) -> tuple[float, Params]:
        return train_step(api, params, state, x, target, rule, runs[1].penalty)

    timed = speed.compare(step, runs[1].params, rule)
    limit = math.inf
    if steps is None:
        steps, limit = timed.plan(seconds, len(runs)) if seconds else (STEPS, limit)
    years, numbers = series.years[series.cut :], series.numbers[series.cut :]
    print(
        f"An Elman network learns yearly sunspot numbers, {series.years[0]:.0f} to "
        f"{LAST_TRAINING_YEAR}; {years[0]:.0f} to {years[-1]:.0f} are held out.\n"
        f"{steps} steps per run, seed {seed}.\n"
    )
    train(series, runs, steps, limit)
    others = {
        "last year's": rmse(series.numbers[series.cut - 1 : -1], numbers),
        "mean": rmse(series.mean, numbers),
    }
    print(f"\n{report.summary(runs, 'RMSE (sunspot number)', ('W_hh', slice(None)), others)}")
    print("The last row: over the held-out years, for the loss in the last of them.\n")
    print(f"{timed}\n")
    forecasts = [forecast(series, run.params)[series.cut - 1 :] for run in runs]
    pictures.sunspots(runs, years, numbers, forecasts, output)
    print(f"The picture is in {output}.")
