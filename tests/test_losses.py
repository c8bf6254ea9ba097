"""The reference losses against their definitions, finite differences and extreme arguments."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import normrnn as nr
from helpers import derivative
from normrnn import reference

LOSSES = ("squared_error", "softmax_cross_entropy", "sigmoid_cross_entropy")


def plain_total(name: str, y: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """The definition, prediction by prediction, for arguments of moderate size."""
    total = 0.0
    for place in zip(*np.nonzero(mask), strict=True):
        z, t = y[place], target[place]
        if name == "squared_error":
            total += np.sum((z - t) ** 2)
        elif name == "softmax_cross_entropy":
            total -= np.log(np.exp(z[t]) / np.sum(np.exp(z)))
        else:
            p = 1 / (1 + np.exp(-z))
            total -= np.sum(t * np.log(p) + (1 - t) * np.log(1 - p))
    return float(total)


def draw_target(name: str, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if name == "softmax_cross_entropy":
        return rng.integers(y.shape[-1], size=y.shape[:-1])
    return rng.uniform(size=y.shape)


@given(
    name=st.sampled_from(LOSSES),
    shape=st.sampled_from([(4, 3, 2), (1, 5, 3), (3, 4), (2, 2, 1), (0, 2, 3), (2, 0, 3)]),
    reduction=st.sampled_from(["sum", "mean", "batch_mean"]),
    masked=st.booleans(),
    batch_first=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_value_and_gradient(
    name: str, shape: tuple, reduction: str, masked: bool, batch_first: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(shape)
    target = draw_target(name, y, rng)
    mask = rng.uniform(size=shape[:-1]) < 0.6 if masked else np.ones(shape[:-1], dtype=bool)
    loss = getattr(reference, name)
    options = {
        "reduction": reduction,
        "mask": mask if masked else None,
        "batch_first": batch_first,
    }
    value, gradient = loss(y, target, **options)

    counted = mask.sum() * (1 if name == "softmax_cross_entropy" else shape[-1])
    batch = shape[1] if len(shape) == 3 and not batch_first else shape[0]
    count = {"sum": 1, "mean": counted, "batch_mean": batch}[reduction]
    # Without a counted prediction the total is 0 and so is the loss.
    np.testing.assert_allclose(
        value, plain_total(name, y, target, mask) / max(count, 1), rtol=1e-12
    )
    assert type(value) is float
    assert gradient.shape == y.shape
    assert not gradient[~mask].any()
    for _ in range(3):
        direction = rng.standard_normal(shape)
        expected = derivative(lambda s, d=direction: loss(y + s * d, target, **options)[0])
        np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_masked_elements_may_hold_anything(name: str) -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal((3, 2, 4)).astype(np.float32)
    target, mask = draw_target(name, y, rng), np.ones((3, 2), dtype=bool)
    mask[1, 0] = False
    loss = getattr(reference, name)
    value, gradient = loss(y, target, mask=mask)
    y[1, 0] = np.nan
    target[1, 0] = -7 if name == "softmax_cross_entropy" else np.nan
    value_2, gradient_2 = loss(y, target, mask=mask)
    assert value == value_2
    assert gradient.dtype == np.float32
    np.testing.assert_array_equal(gradient, gradient_2)


@pytest.mark.parametrize("size", [1e3, 1e30])
def test_cross_entropies_of_huge_logits(size: float) -> None:
    """Warnings are errors, so an overflow would show."""
    z = np.array([[size, -size]])
    loss, gradient = reference.softmax_cross_entropy(z, np.array([1]))
    np.testing.assert_allclose(loss, 2 * size, rtol=1e-15)
    assert gradient.tolist() == [[1.0, -1.0]]
    loss, gradient = reference.sigmoid_cross_entropy(z, np.array([[0.0, 1.0]]))
    np.testing.assert_allclose(loss, 2 * size, rtol=1e-15)
    assert gradient.tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("squared_error", {"target": np.zeros(3)}, "target: expected shape (3, 2), got (3,)"),
        (
            "squared_error",
            {"reduction": "none"},
            "reduction: expected 'sum', 'mean' or 'batch_mean', got 'none'",
        ),
        ("squared_error", {"mask": np.ones(2, bool)}, "mask: expected shape (3,), got (2,)"),
        (
            "softmax_cross_entropy",
            {"target": np.array([0, 2, 1])},
            "target: expected integers in [0, 2), got 2",
        ),
        ("squared_error", {"y": np.zeros(3)}, "y: expected 2 or 3 axes, got 1"),
    ],
)
def test_says_what_is_wrong(name: str, arguments: dict, message: str) -> None:
    y = {"softmax_cross_entropy": "logits"}.get(name, "y")
    arguments = {y: np.zeros((3, 2)), "target": np.zeros((3, 2))} | arguments
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole text is compared below)
        getattr(reference, name)(**arguments)
    assert str(error.value) == message


@pytest.mark.parametrize("implementation", [nr, reference])
@pytest.mark.parametrize(("event", "loss"), [(1.0, 0.0), (0.0, np.inf)])
def test_certain_events(implementation: Any, event: float, loss: float) -> None:
    """Infinite logits: no loss where they are right, an infinite one where they are wrong."""
    for z, target in ((np.inf, event), (-np.inf, 1 - event)):
        found, gradient = implementation.sigmoid_cross_entropy(
            np.array([[z]]), np.array([[target]])
        )
        assert found == pytest.approx(loss, abs=1e-300)
        assert gradient.item() == pytest.approx((z > 0) - target, abs=1e-300)


@pytest.mark.parametrize("implementation", [nr, reference])
@pytest.mark.parametrize("size", [1e-30, 1e25])
def test_sums_are_of_float64(implementation: Any, size: float) -> None:
    """Where float32 has numbers, but not their squares."""
    y = np.full((1, 3), size, np.float32)
    loss, dy = implementation.squared_error(y, np.zeros_like(y))
    assert loss == pytest.approx(3 * float(y[0, 0]) ** 2, rel=1e-6, abs=0)
    np.testing.assert_array_equal(dy, 2 * y)
    logits = np.array([[3e38, -3e38]], np.float32)
    loss, _ = implementation.softmax_cross_entropy(logits, np.array([1]))
    assert loss == pytest.approx(6e38)
