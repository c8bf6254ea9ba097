"""Losses of predictions y: each returns the loss and dL/dy.

A total is summed over every element that the mask admits; an element it excludes may hold anything
and has gradient zero. Then, by `reduction`, loss and gradient are

    "sum"         the total
    "mean"        the total over the number of counted elements (softmax: counted predictions)
    "batch_mean"  the total over B

All is computed in float64; the gradient is returned in y's dtype. Where nothing is counted, the
loss and the gradient are zero under every reduction.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from normrnn.reference.cells.base import Array, sigmoid

REDUCTIONS = ("sum", "mean", "batch_mean")
Mask = NDArray[np.bool_] | None


def squared_error(
    y: Array, target: Array, *, reduction: str = "sum", mask: Mask = None, batch_first: bool = False
) -> tuple[float, Array]:
    """Sum of squares: total sum (y - target)^2, with no 1/2; gradient 2 (y - target).

    Parameters
    ----------
    y : ndarray, [T, B, O], [B, T, O] with `batch_first`, or [B, O]
        Predictions.
    target : ndarray of y's shape
        What they should have been.
    reduction : {"sum", "mean", "batch_mean"}
        See the module.
    mask : ndarray of bool, y's shape without O, optional
        Which predictions count; all by default.
    batch_first : bool
        Where B is in a y of three axes.

    Returns
    -------
    loss : float
        The loss.
    dy : ndarray of y's shape and dtype
        dL/dy.

    Raises
    ------
    ValueError
        If a shape does not fit or the reduction is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn import reference
    >>> loss, dy = reference.squared_error(np.array([[3.0, 1.0]]), np.array([[1.0, 1.0]]))
    >>> loss, dy.tolist()
    (4.0, [[4.0, 0.0]])
    """
    counted = _counted(y, mask)
    _check_shape("target", target, y.shape)
    difference = _select(counted, y) - _select(counted, target)
    scale = _scale(reduction, y, int(counted.sum()) * y.shape[-1], batch_first)
    return scale * float(np.sum(difference**2)), (scale * 2 * difference).astype(y.dtype)


def softmax_cross_entropy(
    logits: Array,
    target: NDArray[np.integer[Any]],
    *,
    reduction: str = "sum",
    mask: Mask = None,
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Classes: total sum (log sum_k exp z_k - z_target); gradient softmax(z) - onehot(target).

    The largest logit of each row is subtracted first, so nothing overflows.

    Parameters
    ----------
    logits : ndarray, [T, B, O], [B, T, O] with `batch_first`, or [B, O]
        z, unnormalised log-probabilities of O classes.
    target : ndarray of int, the logits' shape without O
        Class of each prediction, 0 to O - 1 where it counts.
    reduction, mask, batch_first
        As in `squared_error`; "mean" divides by the number of counted predictions.

    Returns
    -------
    loss : float
        The loss.
    dlogits : ndarray of the logits' shape and dtype
        dL/dz.

    Raises
    ------
    ValueError
        If a shape does not fit, a counted class does not exist or the reduction is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn import reference
    >>> loss, dlogits = reference.softmax_cross_entropy(np.zeros((1, 2)), np.array([1]))
    >>> round(loss, 4), dlogits.tolist()
    (0.6931, [[0.5, -0.5]])
    """
    counted = _counted(logits, mask)
    _check_shape("target", target, logits.shape[:-1])
    classes = logits.shape[-1]
    index = np.where(counted[..., 0], target, 0)[..., None]
    if np.any((index < 0) | (index >= classes)):
        wrong = index[(index < 0) | (index >= classes)][0]
        raise ValueError(f"target: expected integers in [0, {classes}), got {wrong}")
    z = _select(counted, logits)
    z = z - z.max(axis=-1, keepdims=True)
    log_sum = np.log(np.sum(np.exp(z), axis=-1, keepdims=True))
    total = float(np.sum(_select(counted, log_sum - np.take_along_axis(z, index, axis=-1))))
    gradient = np.exp(z - log_sum) - (np.arange(classes) == index)
    scale = _scale(reduction, logits, int(counted.sum()), batch_first)
    return scale * total, (scale * _select(counted, gradient)).astype(logits.dtype)


def sigmoid_cross_entropy(
    logits: Array,
    target: Array,
    *,
    reduction: str = "sum",
    mask: Mask = None,
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Events: total sum (log(1 + exp z) - target z); gradient sigmoid(z) - target.

    It is computed as log(1 + exp(-|z|)) plus |z| (1 - target), or |z| target for z <= 0, so nothing
    overflows.

    Parameters
    ----------
    logits : ndarray, [T, B, O], [B, T, O] with `batch_first`, or [B, O]
        z, log-odds of O independent events.
    target : ndarray of the logits' shape
        Probabilities of the events, in [0, 1].
    reduction, mask, batch_first
        As in `squared_error`.

    Returns
    -------
    loss : float
        The loss.
    dlogits : ndarray of the logits' shape and dtype
        dL/dz.

    Raises
    ------
    ValueError
        If a shape does not fit or the reduction is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn import reference
    >>> loss, dlogits = reference.sigmoid_cross_entropy(np.zeros((1, 1)), np.ones((1, 1)))
    >>> round(loss, 4), dlogits.tolist()
    (0.6931, [[-0.5]])
    """
    counted = _counted(logits, mask)
    _check_shape("target", target, logits.shape)
    z, wanted = _select(counted, logits), _select(counted, target)
    share = np.where(z > 0, 1 - wanted, wanted)
    values = np.where(share == 0, 0, np.abs(z)) * share + np.log1p(np.exp(-np.abs(z)))
    scale = _scale(reduction, logits, int(counted.sum()) * logits.shape[-1], batch_first)
    gradient = scale * _select(counted, sigmoid(z) - wanted)
    return scale * float(np.sum(_select(counted, values))), gradient.astype(logits.dtype)


def _counted(y: Array, mask: Mask) -> NDArray[np.bool_]:
    """Say which predictions count, [..., 1]."""
    if y.ndim not in (2, 3):
        raise ValueError(f"y: expected 2 or 3 axes, got {y.ndim}")
    if mask is None:
        mask = np.ones(y.shape[:-1], dtype=bool)
    _check_shape("mask", mask, y.shape[:-1])
    if mask.dtype != np.bool_:
        raise TypeError(f"mask: expected dtype bool, got {mask.dtype}")
    return mask[..., None]


def _select(counted: NDArray[np.bool_], values: Array) -> Array:
    """Take the values that count, in float64, and 0 for the others: they may be NaN."""
    return np.where(counted, values, 0).astype(np.float64)


def _scale(reduction: str, y: Array, counted: int, batch_first: bool) -> float:
    """Return what the total is multiplied by."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction: expected 'sum', 'mean' or 'batch_mean', got {reduction!r}")
    batch: int = y.shape[0] if batch_first or y.ndim == 2 else y.shape[1]
    count = {"sum": 1, "mean": counted, "batch_mean": batch}[reduction]
    return 1.0 / max(count, 1)


def _check_shape(argument: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{argument}: expected shape {shape}, got {array.shape}")
