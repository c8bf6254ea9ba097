"""What an update remembers of its penalties never outlives what it was made from."""

from typing import Any

import numpy as np
import pytest

import normrnn as nr
from normrnn import reference


def check(penalty: Any, params: dict[str, np.ndarray[Any, Any]]) -> None:
    """One update by the core and by the reference, which remembers nothing."""
    grads = {name: np.ones_like(w) for name, w in params.items()}
    ours, theirs = ({name: w.copy() for name, w in params.items()} for _ in range(2))
    rule = nr.SGD(0.1)
    info = nr.update(ours, grads, rule=rule, penalty=penalty)
    expected = reference.update(theirs, grads, {"step": 0}, rule=rule, penalty=penalty)
    for name in params:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12, atol=1e-15, err_msg=name)
    assert info.penalty == pytest.approx(expected.penalty)


@pytest.fixture
def params() -> dict[str, np.ndarray[Any, Any]]:
    return nr.init_params("lstm", 3, 4, dtype="float64", rng=0)


def test_a_mapping_or_a_list_that_changes(params: dict[str, Any]) -> None:
    terms: list[Any] = [nr.L2(0.1)]
    penalty: dict[str, Any] = {"weight_hh_*": terms}
    check(penalty, params)
    terms[0] = nr.L1(0.2)
    check(penalty, params)
    terms.append(nr.MaxNorm(0.5))
    check(penalty, params)
    penalty["weight_ih_*"] = nr.L2(0.3)
    check(penalty, params)
    penalty["weight_hh_*"] = None
    check(penalty, params)


def test_penalties_that_come_and_go(params: dict[str, Any]) -> None:
    """A new object may lie where an old one did."""
    for strength in np.linspace(0, 1, 40):
        check(nr.L2(float(strength)), params)
        check({"weight_hh_l0[f]": nr.GroupLasso(float(strength))}, params)


def test_other_parameters(params: dict[str, Any]) -> None:
    """The same names with other shapes and dtypes."""
    penalty = nr.GroupLasso(0.1, groups="columns")
    check(penalty, params)
    check(penalty, nr.init_params("lstm", 5, 7, dtype="float64", rng=1))
    check(penalty, {"weight_hh_l0": params["weight_hh_l0"]})
    check(penalty, params)


def test_weights_of_groups(params: dict[str, Any]) -> None:
    one, other = np.arange(1.0, 5.0), np.arange(4.0, 0.0, -1)
    for weights in (one, other, {"weight_hh_l0": one}, {"weight_hh_l0": other}):
        for pattern in ("weight_hh_l0", "weight_hh_l0[f]"):
            check({pattern: nr.GroupLasso(0.1, groups="gates", weights=weights)}, params)
            check({pattern: nr.Prox(nr.GroupLasso(0.1, groups="gates", weights=weights))}, params)


def test_heads(params: dict[str, Any]) -> None:
    params |= {"weight_hy": np.ones((1, 4)), "weight_out": np.full((2, 4), 0.5)}
    for heads in (["weight_hy"], ["weight_out"], ["weight_hy", "weight_out"], ["weight_hy"]):
        check(nr.GroupLasso(0.1, groups="outgoing", heads=heads), params)
        check([nr.Prox(nr.GroupLasso(0.1, groups="outgoing", heads=heads))], params)
    penalty = nr.GroupLasso(0.1, groups="outgoing", heads=["weight_out"])
    check(penalty, params)
    del params["weight_out"]
    with pytest.raises(ValueError, match=r"^heads: expected names of parameters"):
        check(penalty, params)


def test_a_list_is_no_mapping(params: dict[str, Any]) -> None:
    penalty = nr.L2(0.1)
    check({"weight_*": penalty}, params)
    grads = {name: np.ones_like(w) for name, w in params.items()}
    with pytest.raises(TypeError, match=r"^penalty: expected a penalty, got str$"):
        nr.update(params, grads, rule=nr.SGD(0.1), penalty=["weight_*", penalty, "/"])  # type: ignore[list-item]
