"""Clips of gradients by norm, value and ratio."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from networks import gradients_of, network
from normrnn import reference


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
def test_clip_ratio_where_squares_overflow(implementation: Any) -> None:
    params = {"w": np.array([[3.0, 4.0], [3e200, 4e200], [1.0, 0.0]])}
    grads = {"w": np.array([[3e200, -4e200], [3e250, -4e250], [0.1, 0.1]])}
    before = params["w"].copy()
    with np.errstate(over="ignore"):  # of the reference's norms
        info = implementation.update(params, grads, rule=nr.SGD(1.0), clip_ratio=0.5)
    clipped = np.array([[1.5, -2.0], [1.5e200, -2e200], [0.1, 0.1]])
    np.testing.assert_allclose(before - params["w"], clipped, rtol=1e-14)
    assert not np.isnan([*vars(info).values()]).any()


def test_each_clip_does_what_its_name_says() -> None:
    """FlashRNN once read a clip's threshold from another option."""
    params = network("gru", 6, 1, False, "float64", seed=18)
    grads = gradients_of(params, seed=19)
    whole = np.sqrt(sum(np.sum(g**2) for g in grads.values()))

    def by_ratio(g: np.ndarray, w: np.ndarray) -> np.ndarray:
        rows, weights = np.atleast_2d(g), np.atleast_2d(w)
        norm = np.linalg.norm(rows, axis=1, keepdims=True)
        most = 0.25 * np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-3)
        return (rows * np.minimum(1, most / norm)).reshape(g.shape)

    wanted = {
        "clip_norm": lambda g, w: g * 0.25 / whole,
        "clip_value": lambda g, w: np.clip(g, -0.25, 0.25),
        "clip_ratio": by_ratio,
    }
    params["bias_hh_l0"][...] = 0  # what is 0 counts as 1e-3, so that it can grow
    for implementation in (nr, reference):
        for clip, held in wanted.items():
            moved = deepcopy(params)
            info = implementation.update(moved, grads, rule=nr.SGD(1.0), **{clip: 0.25})
            total = 0.0
            for name, w in params.items():
                clipped = held(grads[name], w)
                np.testing.assert_allclose(w - moved[name], clipped, rtol=0, atol=1e-14)
                total += np.sum(clipped**2)
            assert info.clipped_norm == pytest.approx(np.sqrt(total), rel=1e-13)
            assert info.grad_norm == pytest.approx(whole, rel=1e-13)
            scale = 0.25 / whole if clip == "clip_norm" else 1.0
            assert info.clip_scale == pytest.approx(scale, rel=1e-13)


@pytest.mark.parametrize("clip", ["clip_norm", "clip_value", "clip_ratio"])
def test_a_clip_that_does_not_bind_changes_nothing(clip: str) -> None:
    params = network("gru", 6, 1, False, "float32", seed=18)
    grads = gradients_of(params, seed=19)
    params["weight_hy"][...] = 1
    twin = deepcopy(params)
    info = nr.update(params, grads, rule=nr.SGD(1.0), penalty=nr.L2(0.1), **{clip: 1e9})
    plain = nr.update(twin, grads, rule=nr.SGD(1.0), penalty=nr.L2(0.1))
    for name in params:
        np.testing.assert_array_equal(params[name], twin[name])
    assert info.clipped_norm == pytest.approx(info.grad_norm, rel=1e-7)  # in another order
    rounded = ("penalty", "update_norm", "param_norm", "clipped_norm")  # rows are summed by rows
    for name in rounded:
        assert getattr(info, name) == pytest.approx(getattr(plain, name), rel=1e-6)
    assert replace(info, **dict.fromkeys(rounded, 0)) == replace(plain, **dict.fromkeys(rounded, 0))
