"""What an update sums up, where squares of float32 numbers are no float32 numbers, or are zeros."""

import numpy as np
import pytest

import normrnn as nr
from normrnn import reference

SHAPE = (24, 75)  # bundles of eight vectors and what is left over, for every target
SCALES = (1e-36, 1e-25, 3e-20, 1e-12, 1.0, 1e17, 3e19, 1e30)
PENALTIES = {
    "none": lambda strength: None,
    "gradient": lambda strength: nr.L2(0.125),
    "rows": lambda strength: nr.GroupLasso(strength),
    "columns": lambda strength: nr.GroupLasso(strength, groups="columns"),
    "prox rows": lambda strength: nr.Prox(nr.GroupLasso(strength)),
    "prox columns": lambda strength: nr.Prox(nr.GroupLasso(strength, groups="columns")),
    "prox matrix": lambda strength: nr.Prox(nr.GroupLasso(strength, groups="matrix")),
}


def drawn(kind: str, scale: float, seed: int) -> np.ndarray:
    """Numbers of a size; some rows and columns of zeros; or of all sizes, row by row, or mixed."""
    rng = np.random.default_rng(seed)
    array = rng.standard_normal(SHAPE) * scale
    if kind == "zeros":
        array[::3] = 0
        array[:, 5:70:2] = 0
    elif kind == "still":
        array[...] = 0
    elif kind == "rows":
        array *= np.resize(10.0 ** np.arange(0, -24, -3), (SHAPE[0], 1))
    elif kind == "mixed":
        array *= np.resize(10.0 ** np.arange(0, -24, -1), SHAPE)
    return array.astype(np.float32)


def norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array.astype(np.float64)))


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("kind", ["all", "zeros", "still", "rows", "mixed"])
@pytest.mark.parametrize("scale", SCALES)
def test_norms_of_numbers_of_every_size(scale: float, kind: str, penalty: str) -> None:
    given = PENALTIES[penalty](scale / 8)
    w, g = drawn("zeros" if kind == "still" else kind, scale, 1), drawn(kind, scale, 2)
    for check_finite in (True, False):
        params = {"weight_hh_l0": w.copy()}
        info = nr.update(
            params,
            {"weight_hh_l0": g},
            rule=nr.SGD(0.25),
            penalty=given,
            check_finite=check_finite,
        )
        after = params["weight_hh_l0"]
        assert info.grad_norm == pytest.approx(norm(g), rel=1e-6)
        assert info.param_norm == pytest.approx(norm(after), rel=1e-6)
        change = norm(after.astype(np.float64) - w)
        assert info.update_norm == pytest.approx(change, rel=1e-5, abs=1e-7 * norm(w))
        if "rows" in penalty or "columns" in penalty:
            groups = np.linalg.norm(w.astype(np.float64), axis=int("rows" in penalty))
            weight = np.sqrt(w.size / len(groups))
            assert info.penalty == pytest.approx(weight * scale / 8 * groups.sum(), rel=1e-6)


@pytest.mark.parametrize("groups", ["rows", "columns", "matrix"])
@pytest.mark.parametrize("kind", ["all", "zeros", "rows"])
@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e12])
def test_groups_with_step_sizes_of_their_own(scale: float, kind: str, groups: str) -> None:
    # Adam divides a gradient by its size, so that weights alone are of the scale.
    rule = nr.Adam(scale / 16)
    w, g = drawn(kind, scale, 3), drawn("all", 1.0, 4)
    params, twin = {"weight_hh_l0": w.copy()}, {"weight_hh_l0": w.astype(np.float64)}
    state, other = nr.init_state(rule, params), nr.init_state(rule, twin)
    penalty = nr.Prox(nr.GroupLasso(0.25, groups=groups))
    info = nr.update(params, {"weight_hh_l0": g}, state, rule=rule, penalty=penalty)
    wanted = reference.update(
        twin, {"weight_hh_l0": g.astype(np.float64)}, other, rule=rule, penalty=penalty
    )
    after = params["weight_hh_l0"]
    np.testing.assert_allclose(after, twin["weight_hh_l0"], rtol=1e-4, atol=1e-5 * scale)
    assert info.param_norm == pytest.approx(norm(after), rel=1e-6)
    assert info.update_norm == pytest.approx(norm(after.astype(np.float64) - w), rel=1e-5)
    assert info.penalty == pytest.approx(wanted.penalty, rel=1e-5)
