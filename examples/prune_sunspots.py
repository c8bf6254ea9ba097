"""Group lasso on outgoing weights prunes a GRU that forecasts sunspots; `shrink` makes it faster.

The network begins with 128 units and is trained at one λ after the other, each begun with the
network of the one before. Years up to 1905 are for training, 1906 to 1955 choose λ, and 1956 to
2008 are looked at once, for the table. Time is that of forward and backward over all the years.

    python examples/prune_sunspots.py
"""

import time
from typing import Any

import numpy as np

import normrnn as nr
from normrnn.demo.sunspots import load

CELL, HIDDEN, STEPS = "gru", 128, 800
LAMBDAS = [0.0, *np.geomspace(1e-4, 3e-2, 8)]
Params = dict[str, np.ndarray[Any, Any]]

series = load()
TRAIN, CHOOSE = (int(np.searchsorted(series.years, y, side="right")) - 1 for y in (1905, 1955))
mean, spread = series.numbers[: TRAIN + 1].mean(), series.numbers[: TRAIN + 1].std()
scaled = ((series.numbers - mean) / spread).astype(np.float32).reshape(-1, 1, 1)  # [T + 1, 1, 1]
x, target = scaled[:-1], scaled[1:]  # from every year the next


def gradient(params: Params) -> tuple[float, Params]:
    """Loss of the training years and its gradients, without the penalty."""
    out = nr.forward(CELL, x[:TRAIN], params)
    y = nr.head_forward(out.y, params)
    loss, dy = nr.squared_error(y, target[:TRAIN], reduction="mean")
    dh, head_grads = nr.head_backward(out.y, dy, params)
    return loss, nr.backward(out.tape, dh).params | head_grads


def squares(params: Params, years: slice) -> np.ndarray[Any, Any]:
    """Squared error of each year's forecast, in sunspot numbers, from all the years before it."""
    out = nr.forward(CELL, x[: years.stop], params, need_grad=False)
    error = (nr.head_forward(out.y, params) - target[: years.stop])[years] * spread
    return error.ravel() ** 2


def milliseconds(params: Params) -> float:
    """Least time of a forward and backward pass."""
    times = []
    for _ in range(50):
        begun = time.perf_counter()
        out = nr.forward(CELL, x, params)
        nr.backward(out.tape, out.y)
        times.append(time.perf_counter() - begun)
    return 1e3 * min(times)


def main() -> None:
    """Train along the path, shrink each network, and print what came out."""
    result = nr.path(
        nr.selection.trainer(gradient, nr.SGD(0.2), STEPS, clip_norm=1.0),
        nr.init_params(CELL, 1, HIDDEN, output_size=1),
        lambda strength: nr.Prox(nr.GroupLasso(strength, groups="outgoing")),
        LAMBDAS,
        train_loss=lambda params: gradient(params)[0],
        validation_loss=lambda params: squares(params, slice(TRAIN, CHOOSE)),
    )
    print("       λ  units  parameters  RMSE to 1905  1906-1955  1956-2008  ms per step  speed")
    slowest = milliseconds(result.params[0]) if result.params else 0.0
    for k, params in enumerate(result.params or ()):
        smaller = nr.shrink(CELL, params)
        small = smaller.params
        np.testing.assert_allclose(  # the same forecasts, to rounding
            squares(small, slice(0, CHOOSE)), squares(params, slice(0, CHOOSE)), rtol=1e-2, atol=0.1
        )
        took = milliseconds(small)
        best = {result.best: "  <- best", result.one_standard_error: "  <- one standard error"}
        print(
            f"{result.lambdas[k]:8.5f}  {smaller.hidden_size:5d}  "
            f"{sum(w.size for w in small.values()):10d}  "
            f"{spread * np.sqrt(result.train_loss[k]):12.1f}  "
            f"{np.sqrt(result.validation_loss[k]):9.1f}  "
            f"{np.sqrt(squares(small, slice(CHOOSE, len(x))).mean()):9.1f}  "
            f"{took:11.3f}  {slowest / took:4.1f}x{best.get(k, '')}"
        )


if __name__ == "__main__":
    main()
