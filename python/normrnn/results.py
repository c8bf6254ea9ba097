"""What forward, backward and update return, in the core and in the reference alike."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

__all__ = ["Gradients", "Output", "UpdateInfo"]


@dataclass(frozen=True, eq=False)
class Output:
    """What ``forward`` returns.

    L is the number of layers, D the number of directions; layer l in direction d is at index
    l*D + d, as in PyTorch. All arrays have the dtype of x. A tape of the compiled
    core can be neither pickled nor deep-copied, so an Output can be only with ``need_grad=False``.

    Attributes
    ----------
    y : ndarray, [T, B, D*H], or [B, T, D*H] with ``batch_first``
        The last layer's h at every step; zero past a sequence's end.
    h_n : ndarray, [L*D, B, H]
        h of every layer and direction after the last step that it ran on each sequence.
    c_n : ndarray, [L*D, B, H], or None
        The same for the LSTM's c; None for other cells.
    tape : object or None
        What ``backward`` needs; None with ``need_grad=False``. The compiled core's also has
        ``cell``, ``nbytes`` (the memory that it occupies), ``runs`` ("l0", "l0_reverse", "l1",
        ...), ``layers``, ``directions`` and ``lengths``; on the CPU ``states(layer, direction)``
        and ``gates(layer, direction)``, too, copies of what the pass left.
    """

    y: NDArray[Any]
    h_n: NDArray[Any]
    c_n: NDArray[Any] | None
    tape: Any


@dataclass(frozen=True, eq=False)
class Gradients:
    """What ``backward`` returns: derivatives of the loss L, each of the shape of its argument.

    Attributes
    ----------
    params : dict of str to ndarray
        dL/dw for every recurrent parameter, under the parameter's name.
    x : ndarray, [T, B, I], or [B, T, I] with ``batch_first``
        dL/dx; zero past a sequence's end.
    h0 : ndarray, [L*D, B, H]
        dL/dh_0, also where h0 was left out.
    c0 : ndarray, [L*D, B, H], or None
        dL/dc_0 for the LSTM; None for other cells.
    h_norm : ndarray, [L*D, T]
        l2 norm over batch and units of the total dL/dh_t, t the time index in x: whether gradients
        vanish or explode on their way through time. A sequence counts 0 past its end.
    h_norm_clipped : ndarray, [L*D, T]
        The same after ``clip_state``; h_norm itself where nothing was to be clipped.
    penalty : float
        Value of the state penalties, all layers together; 0 without any.
    """

    params: dict[str, NDArray[Any]]
    x: NDArray[Any]
    h0: NDArray[Any]
    c0: NDArray[Any] | None
    h_norm: NDArray[Any]
    h_norm_clipped: NDArray[Any]
    penalty: float


@dataclass(frozen=True)
class UpdateInfo:
    """What ``update`` returns; every norm is the l2 norm over all parameters together.

    Squares are summed in float64, of float32 a few in float32 first where that loses nothing: a
    step or weight beyond 1e154 makes its norm infinite, and so does a gradient that was not looked
    at first (``check_finite=False``).

    Attributes
    ----------
    penalty : float
        R(w) before the step, at the weights where the gradients were taken.
    grad_norm : float
        Norm of the gradients as they were given: before clipping, without the penalty.
    update_norm : float
        Norm of w_new - w_old. Where a prox or constraint of groups or matrices takes most of the
        rule's step back it comes from a difference of squares, and is off by up to 1e-3 (float32)
        or 1e-7 (float64) of that step.
    param_norm : float
        Norm of w_new.
    clip_scale : float
        What ``clip_norm`` multiplied the gradients by: min(1, clip_norm / grad_norm).
    clipped_norm : float
        Norm of the gradients after clipping, without the penalty.
    """

    penalty: float
    grad_norm: float
    update_norm: float
    param_norm: float
    clip_scale: float
    clipped_norm: float
