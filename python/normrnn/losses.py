"""Losses with their gradients; each names its reduction, because λ means something else under each.

``"sum"`` adds up all counted elements, ``"mean"`` divides that by their number, ``"batch_mean"`` by
the number of sequences B.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from normrnn import _core
from normrnn._numbers import flag

__all__ = ["Reduction", "sigmoid_cross_entropy", "softmax_cross_entropy", "squared_error"]

Array = NDArray[Any]
Reduction = Literal["sum", "mean", "batch_mean"]


def squared_error(
    y: Array,
    target: Array,
    *,
    reduction: Reduction = "sum",
    mask: NDArray[np.bool_] | None = None,
    batch_first: bool = False,
) -> tuple[float, Array]:
    """L = Σ ‖y − target‖², without a factor ½.

    Parameters
    ----------
    y : ndarray, [T, B, O], or [B, T, O] with `batch_first`, or [B, O]
        Predictions.
    target : ndarray
        What they should be; y's shape and dtype.
    reduction : {"sum", "mean", "batch_mean"}
        "mean" divides by the number of counted elements of y.
    mask : ndarray of bool, y.shape[:-1], optional
        False leaves a step out: it adds nothing, and its gradient is zero.
    batch_first : bool
        Which dimension "batch_mean" takes for the batch.

    Returns
    -------
    loss : float
        The loss.
    dy : ndarray, like y
        dL/dy = 2 (y − target), scaled by the reduction.

    Raises
    ------
    TypeError, ValueError
        If a dtype, a shape or the reduction does not fit.

    References
    ----------
    Bishop, Pattern Recognition and Machine Learning, Springer 2006, section 5.2; without its ½.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> nr.squared_error(np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]]))
    (5.0, array([[ 2., -4.]]))
    """
    scale = _scale("y", y, reduction, mask, batch_first, per_element=True)
    total, dy = _core.squared_error(y, target, mask, scale)
    return total * scale, dy


def sigmoid_cross_entropy(
    logits: Array,
    target: Array,
    *,
    reduction: Reduction = "sum",
    mask: NDArray[np.bool_] | None = None,
    batch_first: bool = False,
) -> tuple[float, Array]:
    """L = Σ log(1 + exp z) − target z over all logits z: independent yes-or-no predictions.

    Parameters
    ----------
    logits : ndarray, [T, B, O], or [B, T, O] with `batch_first`, or [B, O]
        Log odds z.
    target : ndarray
        Probabilities, 0 or 1 for labels; the logits' shape and dtype.
    reduction : {"sum", "mean", "batch_mean"}
        "mean" divides by the number of counted elements.
    mask : ndarray of bool, logits.shape[:-1], optional
        False leaves a step out.
    batch_first : bool
        Which dimension "batch_mean" takes for the batch.

    Returns
    -------
    loss : float
        The loss.
    d_logits : ndarray, like logits
        dL/dz = σ(z) − target, scaled by the reduction.

    Raises
    ------
    TypeError, ValueError
        If a dtype, a shape or the reduction does not fit.

    References
    ----------
    Bishop, Pattern Recognition and Machine Learning, Springer 2006, section 5.2. From logits, so
    that no exponential overflows.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> loss, dz = nr.sigmoid_cross_entropy(np.array([[0.0]]), np.array([[1.0]]))
    >>> round(loss, 6), dz
    (0.693147, array([[-0.5]]))
    """
    scale = _scale("logits", logits, reduction, mask, batch_first, per_element=True)
    total, d_logits = _core.sigmoid_cross_entropy(logits, target, mask, scale)
    return total * scale, d_logits


def softmax_cross_entropy(
    logits: Array,
    target: NDArray[np.integer[Any]],
    *,
    reduction: Reduction = "sum",
    mask: NDArray[np.bool_] | None = None,
    batch_first: bool = False,
) -> tuple[float, Array]:
    """L = Σ log Σ_k exp z_k − z_target over all predictions: one class out of C each, in nats.

    Parameters
    ----------
    logits : ndarray, [T, B, C], or [B, T, C] with `batch_first`, or [B, C]
        Unnormalised log probabilities z.
    target : ndarray of int, logits.shape[:-1]
        Classes, 0 to C − 1 (anything where the mask is False).
    reduction : {"sum", "mean", "batch_mean"}
        "mean" divides by the number of counted predictions.
    mask : ndarray of bool, logits.shape[:-1], optional
        False leaves a step out.
    batch_first : bool
        Which dimension "batch_mean" takes for the batch.

    Returns
    -------
    loss : float
        The loss.
    d_logits : ndarray, like logits
        dL/dz = softmax(z) − onehot(target), scaled by the reduction.

    Raises
    ------
    TypeError, ValueError
        If a dtype, a shape, a class or the reduction does not fit.

    References
    ----------
    Bishop, Pattern Recognition and Machine Learning, Springer 2006, section 5.2. With the largest z
    taken out of the sum: Blanchard, Higham & Higham, Accurately computing the log-sum-exp and
    softmax functions, IMA J. Numer. Anal. 41, 2021.

    Examples
    --------
    >>> import numpy as np, normrnn as nr
    >>> loss, dz = nr.softmax_cross_entropy(np.zeros((1, 2)), np.array([1]))
    >>> round(loss, 6), dz
    (0.693147, array([[ 0.5, -0.5]]))
    """
    scale = _scale("logits", logits, reduction, mask, batch_first, per_element=False)
    if isinstance(target, np.ndarray):
        if target.dtype.kind not in "iu":
            raise TypeError(f"target: expected integers, got dtype {target.dtype}")
        target = target.astype(np.int64, copy=False)
    total, d_logits = _core.softmax_cross_entropy(logits, target, mask, scale)
    return total * scale, d_logits


def _scale(
    name: str,
    y: Array,
    reduction: str,
    mask: NDArray[np.bool_] | None,
    batch_first: bool,
    per_element: bool,
) -> float:
    """Return what the sum is multiplied by; a mean over nothing is 0."""
    if not isinstance(y, np.ndarray):
        raise TypeError(f"{name}: expected a numpy.ndarray, got {type(y).__name__}")
    batch_first = flag("batch_first", batch_first)
    if not isinstance(reduction, str) or reduction not in ("sum", "mean", "batch_mean"):
        raise ValueError(f"reduction: expected 'sum', 'mean' or 'batch_mean', got {reduction!r}")
    if reduction == "sum":
        return 1.0
    if y.ndim not in (2, 3):
        raise ValueError(f"{name}: expected 2 or 3 dimensions, got shape {y.shape}")
    if reduction == "batch_mean":
        count = y.shape[0 if batch_first or y.ndim == 2 else 1]
    else:
        rows = math.prod(y.shape[:-1]) if mask is None else int(np.count_nonzero(mask))
        count = rows * y.shape[-1] if per_element else rows
    return 1.0 / count if count else 0.0
