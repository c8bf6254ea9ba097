"""Cross-validation of a long series: a fold is judged on what comes after its training part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normrnn._numbers import integer
from normrnn.selection.curve import (
    Curve,
    check_callables,
    check_lambdas,
    loss_of,
    mean_and_error,
)

Array = NDArray[Any]
Model = TypeVar("Model")


@dataclass(frozen=True, eq=False)
class CrossValidation(Curve):
    """What `cross_validate` returns, N the number of λs.

    Attributes
    ----------
    lambdas : ndarray, [N]
        The λs, in the order in which they were used.
    fold_loss : ndarray, [F, N]
        Held-out loss of each fold at each λ, without any penalty.
    validation_loss, standard_error : ndarray, [N]
        Mean over folds and its standard error, as if folds were independent: they share training
        data, so it is a guide and no confidence interval. NaN with one fold.
    """

    lambdas: Array
    fold_loss: Array
    validation_loss: Array
    standard_error: Array


def expanding_window(
    steps: int, folds: int = 5, *, gap: int = 0, test_size: int | None = None
) -> Iterator[tuple[slice, slice]]:
    """Split a series in time: train on all that came before, judge on what comes next.

    Nothing is shuffled, and no window to be judged on begins before the training part has ended. ::

        [train              ]gap[test]
        [train                   ]gap[test]
        [train                        ]gap[test]

    Parameters
    ----------
    steps : int
        T, the length of the series.
    folds : int
        F >= 1.
    gap : int
        Steps between the two that are used in neither, for targets or noise that reach ahead.
    test_size : int, optional
        Steps of each window; T // (F + 1) by default.

    Yields
    ------
    train, test : slice
        Both along time. The last window ends with the series. These are the folds of
        sklearn.model_selection.TimeSeriesSplit.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or no step is left to train on.

    Examples
    --------
    >>> from normrnn.selection import expanding_window
    >>> for train, test in expanding_window(12, 3, gap=1):
    ...     print(f"train {train.start}:{train.stop}, test {test.start}:{test.stop}")
    train 0:2, test 3:6
    train 0:5, test 6:9
    train 0:8, test 9:12
    """
    integer("steps", steps, 1)
    integer("folds", folds, 1)
    integer("gap", gap, 0)
    if test_size is not None:
        integer("test_size", test_size, 1)
    size = steps // (folds + 1) if test_size is None else test_size
    if size < 1 or steps <= folds * size + gap:
        raise ValueError(
            f"steps: expected some to train on before {folds} windows of {max(size, 1)} and a gap "
            f"of {gap}, got {steps}"
        )
    # A generator of its own, so that errors come at the call and not at the first fold.
    starts = range(steps - folds * size, steps, size)
    return ((slice(0, start - gap), slice(start, start + size)) for start in starts)


def cross_validate(
    fit: Callable[[Array, Array, float, Model | None], Model],
    score: Callable[[Model, Array, Array, slice], float],
    x: Array,
    y: Array,
    lambdas: ArrayLike,
    *,
    folds: int = 5,
    gap: int = 0,
    test_size: int | None = None,
    axis: int = 0,
) -> CrossValidation:
    """Judge each λ on windows of the future, `expanding_window`, with warm starts from λ to λ.

    Parameters
    ----------
    fit : callable, fit(x, y, λ, model) -> model
        Trains on a beginning of the series. `model` is what it returned for the λ before, in the
        same fold, or None for the first. It is yours whether to begin there, as `path` does; do
        not change a model in place, or change your own copy.
    score : callable, score(model, x, y, window) -> float
        The loss (less is better) in the window, a slice along time, without the penalty. x and y
        run from the beginning of the series to the window's end, so that the network can come
        into the window with a state that has seen the past; only the window's steps may count.
    x, y : ndarray
        Inputs and targets with the same number of steps T along `axis`.
    lambdas : array_like of float, [N]
        λs >= 0, best in falling order.
    folds, gap, test_size : int
        As for `expanding_window`.
    axis : int
        Of time: 0, or 1 for arrays with the batch first.

    Returns
    -------
    CrossValidation
        lambdas, fold_loss, validation_loss, standard_error; `CrossValidation.best` and
        `CrossValidation.one_standard_error` choose among them.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    References
    ----------
    Tashman, Out-of-sample tests of forecasting accuracy, Int. J. Forecasting 16(4), 2000.

    Examples
    --------
    Ridge regression through the origin, w = Σ x y / (Σ x² + λ), on y = x:

    >>> import numpy as np
    >>> from normrnn.selection import cross_validate
    >>> x = np.arange(1.0, 13.0)
    >>> result = cross_validate(
    ...     lambda x, y, strength, model: (x @ y) / (x @ x + strength),
    ...     lambda w, x, y, window: float(np.mean((w * x[window] - y[window]) ** 2)),
    ...     x, x, [10.0, 1.0, 0.0], folds=3)
    >>> result.fold_loss.shape, result.best
    ((3, 3), 2)
    """
    check_callables(fit=fit, score=score)
    strengths = check_lambdas(lambdas)
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer) or axis not in (0, 1):
        raise ValueError(f"axis: expected 0 or 1, got {axis!r}")
    for argument, array in {"x": x, "y": y}.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{argument}: expected an ndarray, got {type(array).__name__}")
        if array.ndim <= axis:
            raise ValueError(
                f"{argument}: expected at least {axis + 1} dimensions, got shape {array.shape}"
            )
    if y.shape[axis] != x.shape[axis]:
        raise ValueError(
            f"y: expected {x.shape[axis]} steps as in x along axis {axis}, got {y.shape[axis]}"
        )

    def until(array: Array, stop: int) -> Array:
        return array[(slice(None),) * axis + (slice(0, stop),)]

    losses = []
    for train, test in expanding_window(x.shape[axis], folds, gap=gap, test_size=test_size):
        seen = until(x, train.stop), until(y, train.stop)
        judged = until(x, test.stop), until(y, test.stop)
        model: Model | None = None
        row = []
        for strength in strengths.tolist():
            model = fit(*seen, strength, model)
            row.append(loss_of("score", score(model, *judged, test)))
        losses.append(row)
    fold_loss = np.array(losses)
    means, errors = mean_and_error(fold_loss.T)
    return CrossValidation(strengths, fold_loss, means, errors)
