"""How near an update of the core has to be to the reference's, with penalties of all kinds."""

from dataclasses import fields

import numpy as np

import normrnn as nr

# Some forty roundings an element, of numbers of order 1, beside the norm of its group; a group's
# root under Adam comes from sums over all its weights, which are rounded, too. Singular vectors are
# off by them times sigma_1 / gap, which the tests' matrices keep small.
ELEMENT = {"float32": 40 * 2**-23, "float64": 200 * 2**-52}
SUM = {"float32": 1000 * 2**-24, "float64": 1e-12}


def assert_agrees(
    actual: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    dtype: str,
    amplification: float = 1,
) -> None:
    for name, array in actual.items():
        assert array.dtype == dtype
        scale = amplification * max(1.0, np.max(np.abs(expected[name]), initial=0))
        np.testing.assert_allclose(
            array, expected[name], rtol=0, atol=ELEMENT[dtype] * scale, err_msg=name
        )


def assert_info_agrees(
    actual: nr.optimize.UpdateInfo, expected: nr.optimize.UpdateInfo, dtype: str
) -> None:
    for field in fields(actual):
        np.testing.assert_allclose(
            getattr(actual, field.name),
            getattr(expected, field.name),
            rtol=SUM[dtype],
            atol=10 * ELEMENT[dtype],
            err_msg=field.name,
        )
