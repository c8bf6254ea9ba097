"""Output head: an affine map of the hidden states, y = h V^T + b."""

from collections.abc import Mapping

from normrnn.reference.cells.base import Array


def head_forward(h: Array, params: Mapping[str, Array]) -> Array:
    """Compute y = h V^T + b, with V = weight_hy [O, D*H] and b = bias_hy [O], if there is one.

    Parameters
    ----------
    h : ndarray, [..., D*H]
        Hidden states, such as ``out.y`` or a part of it.
    params : mapping of str to ndarray
        weight_hy and bias_hy are used.

    Returns
    -------
    ndarray, [..., O]
        The predictions.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn import reference
    >>> params = {"weight_hy": np.array([[1.0, 2.0]]), "bias_hy": np.array([0.5])}
    >>> reference.head_forward(np.ones((3, 2)), params).ravel().tolist()
    [3.5, 3.5, 3.5]
    """
    y: Array = h @ params["weight_hy"].T
    return y + params["bias_hy"] if "bias_hy" in params else y


def head_backward(
    h: Array, dy: Array, params: Mapping[str, Array]
) -> tuple[Array, dict[str, Array]]:
    """Compute dL/dh = dy V, dL/dV = sum dy^T h, dL/db = sum dy, summed over all leading axes.

    Parameters
    ----------
    h : ndarray, [..., D*H]
        What `head_forward` took.
    dy : ndarray, [..., O]
        dL/dy.
    params : mapping of str to ndarray
        What `head_forward` took.

    Returns
    -------
    dh : ndarray, [..., D*H]
        dL/dh.
    grads : dict of str to ndarray
        dL/d weight_hy, and dL/d bias_hy if there is one.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn import reference
    >>> params = {"weight_hy": np.array([[1.0, 2.0]])}
    >>> dh, grads = reference.head_backward(np.ones((3, 2)), np.ones((3, 1)), params)
    >>> dh[0].tolist(), grads["weight_hy"].tolist()
    ([1.0, 2.0], [[3.0, 3.0]])
    """
    outputs, inputs = params["weight_hy"].shape
    rows = dy.reshape(-1, outputs)
    grads = {"weight_hy": rows.T @ h.reshape(-1, inputs)}
    if "bias_hy" in params:
        grads["bias_hy"] = rows.sum(axis=0)
    return dy @ params["weight_hy"], grads
