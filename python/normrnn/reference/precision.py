"""What the products' operands are rounded to."""

import numpy as np

from normrnn.reference.cells.base import Array


def bfloat16(a: Array) -> Array:
    """Round float32 to the nearest number with 8 significant bits, ties to even.

    Denormals become zero, as everywhere in the compiled core's products; NaN and infinity stay.

    Examples
    --------
    >>> import numpy as np
    >>> from normrnn.reference.precision import bfloat16
    >>> bfloat16(np.array([1.00390625, 1.01171875, -3.1415927], np.float32)).tolist()
    [1.0, 1.015625, -3.140625]
    """
    if a.dtype != np.float32:
        raise ValueError(f"precision: expected None for {a.dtype} arrays, got 'bfloat16'")
    bits = np.ascontiguousarray(a).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    rounded = np.where(bits & 0x7F800000, rounded, bits & 0x80000000).astype(np.uint32)
    return np.where(np.isnan(a), a, rounded.view(np.float32)).astype(np.float32)


def exact(a: Array) -> Array:
    """Leave an operand as it is."""
    return a


OPERANDS = {None: exact, "bfloat16": bfloat16}
