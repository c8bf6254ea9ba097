"""Which penalties apply to which parameter and gate, and what is refused."""

import re
from typing import Any

import numpy as np
import pytest

from normrnn.penalties import (
    L1,
    L2,
    Penalty,
    Prox,
    SoftOrthogonality,
    resolve,
)

NAMES = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hy", "bias_hy"]
WEIGHTS = [name for name in NAMES if "bias" not in name]


def resolved(penalty: Any, names: list[str] = NAMES) -> dict[str, tuple]:
    """The terms of each parameter; there are no gates."""
    pieces = resolve(penalty, {name: np.zeros((2, 2)) for name in names})
    assert [piece.name for piece in pieces] == names
    assert all(piece.rows is None for piece in pieces)
    return {piece.name: piece.terms for piece in pieces}


def refuses(text: str) -> Any:
    return pytest.raises(ValueError, match=f"^{re.escape(text)}$")


@pytest.mark.parametrize("penalty", [L2(1.0), Prox(L1(1.0))])
def test_one_penalty_is_for_weights_only(penalty: Penalty | Prox) -> None:
    assert resolved(penalty) == {name: (penalty,) if name in WEIGHTS else () for name in NAMES}
    assert resolved(penalty, ["bias_hy", "gain_l0"]) == {"bias_hy": (), "gain_l0": ()}


def test_no_penalty() -> None:
    for nothing in (None, {}, [], {"weight_hy": []}):
        assert resolved(nothing) == dict.fromkeys(NAMES, ())


def test_the_first_pattern_that_matches_counts() -> None:
    a, b, c = L1(1.0), Prox(L2(1.0)), L2(2.0)
    d = [SoftOrthogonality(1.0), c]
    assert resolved(
        {"weight_hh_*": a, "weight_hy": None, "*": b, "bias_ih*": c, "bias_hh*": d}
    ) == {
        "weight_ih_l0": (b,),
        "weight_hh_l0": (a,),
        "bias_ih_l0": (c,),
        "bias_hh_l0": tuple(d),
        "weight_hy": (),
        "bias_hy": (),
    }


def test_bias_and_gain_are_words() -> None:
    """A name that has their letters within another word is that of a weight."""
    weights = ["weight_against", "again", "unbiased", "weight_regain_l0"]
    spared = ["bias", "gain_l0", "norm.gain", "out_bias", "biases", "bias2", "gains_l0"]
    names = weights + spared
    for penalty in (L1(1.0), {"*": L1(1.0)}):
        found = resolved(penalty, names)
        assert [name for name in names if found[name]] == weights
    found = resolved({"*gain*": L2(1.0), "*": L1(1.0)}, names)
    assert [name for name in names if found[name] == (L2(1.0),)] == [
        name for name in names if "gain" in name
    ]


@pytest.mark.parametrize("pattern", ["*", "*_hh_*", "b*", "?ias*"])
def test_a_pattern_without_bias_in_it_spares_biases(pattern: str) -> None:
    found = resolved({pattern: L1(1.0), "*bias*": L2(1.0)}, [*NAMES, "b_weight", "dias_weight"])
    assert {found[name] for name in NAMES if "bias" in name} == {(L2(1.0),)}


@pytest.mark.parametrize("pattern", ["weigth_*", "", "WEIGHT_*", "*_l1", "b[i]as_hy"])
def test_a_pattern_must_match_something(pattern: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole text is compared below)
        resolved({"weight_*": L1(1.0), pattern: L1(1.0)})
    expected = f"penalty: expected a pattern that matches one of {NAMES}, got {pattern!r}"
    assert str(error.value) == expected


def test_a_pattern_behind_another_has_still_matched() -> None:
    found = resolved({"weight_*": L1(1.0), "weight_hy": L2(1.0)})
    assert found["weight_hy"] == (L1(1.0),)


def test_resolve_looks_up_the_center_of_each_parameter() -> None:
    centers = {"weight_hh_l0": np.eye(2), "weight_hy": np.ones((1, 2))}
    for wrap in (lambda p: p, Prox):
        found = resolved({"weight_h*": wrap(L2(1.0, center=centers))})
        for name, center in centers.items():
            (one,) = found[name]
            bound = one.penalty if isinstance(one, Prox) else one
            np.testing.assert_array_equal(bound.center, center)
    with pytest.raises(ValueError, match=r"^center: expected an array for weight_ih_l0, got \["):
        resolved(L2(1.0, center=centers))


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (0.1, r"^penalty: expected a penalty, got float$"),
        (L1, r"^penalty: expected a penalty, got ABCMeta$"),
        ({"weight_*": 0.1}, r"^penalty\['weight_\*'\]: expected a penalty, got float$"),
        ([L1(1.0), 2], r"^penalty: expected a penalty, got int$"),
        ("weight_*", r"^penalty: expected a penalty, got str$"),
        ({1: L1(1.0)}, r"^penalty: expected patterns of type str, got int$"),
    ],
)
def test_resolve_wants_penalties(penalty: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        resolved(penalty)
