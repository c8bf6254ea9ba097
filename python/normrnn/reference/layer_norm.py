"""Layer normalisation of the rows of a matrix, and its derivatives.

Ba, Kiros & Hinton, Layer Normalization, arXiv:1607.06450.
"""

import numpy as np

from normrnn.reference.cells.base import Array, Arrays

EPSILON = 1e-5  # added to the variance, as in torch.nn.functional.layer_norm


def normalise(a: Array, gain: Array, bias: Array) -> tuple[Array, Arrays]:
    """Return gain * (a - mean) / sqrt(var + 1e-5) + bias, and what `normalise_backward` needs.

    Mean and variance are those of a row: for the gates of a cell, of all G*H together.

    Parameters
    ----------
    a : ndarray, [B, N]
        What is to be normalised.
    gain, bias : ndarray, [N]
        Scale and shift of each column.

    Returns
    -------
    y : ndarray, [B, N]
        The result.
    kept : tuple of ndarray
        x = (a - mean) / sqrt(var + 1e-5) [B, N], and 1 / sqrt(var + 1e-5) [B, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.reference.layer_norm import normalise
    >>> y, _ = normalise(np.array([[1.0, 2.0, 3.0]]), np.ones(3), np.zeros(3))
    >>> y.round(3).tolist()
    [[-1.225, 0.0, 1.225]]
    """
    centred = a - a.mean(axis=1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)
    x = centred * scale
    return gain * x + bias, (x, scale.astype(a.dtype))


def normalise_backward(dy: Array, gain: Array, kept: Arrays) -> tuple[Array, Array, Array]:
    """Return dL/da, dL/dgain and dL/dbias from dL/dy.

    Parameters
    ----------
    dy : ndarray, [B, N]
        dL/dy.
    gain : ndarray, [N]
        As `normalise` took it.
    kept : tuple of ndarray
        As `normalise` returned it.

    Returns
    -------
    da : ndarray, [B, N]
        (d - mean(d) - x mean(d x)) / sqrt(var + 1e-5) with d = gain dy and means over the row.
    d_gain, d_bias : ndarray, [N]
        Sums of dy x and of dy over the rows.
    """
    x, scale = kept
    d = gain * dy
    da = (d - d.mean(axis=1, keepdims=True) - x * (d * x).mean(axis=1, keepdims=True)) * scale
    return da, (dy * x).sum(axis=0), dy.sum(axis=0)
