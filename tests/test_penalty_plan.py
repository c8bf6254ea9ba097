"""What an update remembers of its penalties never outlives what it was made from."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import normrnn as nr
from normrnn import reference
from normrnn.penalties import plan


def check(penalty: Any, params: dict[str, np.ndarray[Any, Any]], step: int = 1) -> None:
    """One update by the core and by the reference, which remembers nothing."""
    grads = {name: np.ones_like(w) for name, w in params.items()}
    ours, theirs = ({name: w.copy() for name, w in params.items()} for _ in range(2))
    rule, states = nr.SGD(0.1), [{"step": step - 1} for _ in range(2)]
    info = nr.update(ours, grads, states[0], rule=rule, penalty=penalty)
    expected = reference.update(theirs, grads, states[1], rule=rule, penalty=penalty)
    assert states[0]["step"] == states[1]["step"] == step
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


SAME = nr.L2(0.1)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (None, [None]),
        ({"weight_*": None}, {"weight_*": [None]}),
        (
            {"weight_ih_*": SAME, "weight_hh_*": SAME},
            {"weight_ih_*": [SAME, "/", "weight_hh_*", SAME]},
        ),
    ],
)
def test_what_is_refused_is_not_taken_for_what_was_not(
    params: dict[str, Any], good: Any, bad: Any
) -> None:
    grads = {name: np.ones_like(w) for name, w in params.items()}
    nr.update(params, grads, rule=nr.SGD(0.1), penalty=good)
    with pytest.raises(TypeError, match=r"^penalty.*: expected a penalty, got (NoneType|str)$"):
        nr.update(params, grads, rule=nr.SGD(0.1), penalty=bad)


def falling(step: int) -> float:
    return 0.3 / step


def waving(step: int) -> float:
    return 0.2 + 0.1 * (step % 3)


def network() -> dict[str, np.ndarray[Any, Any]]:
    options: Any = {"num_layers": 2, "bidirectional": True, "output_size": 2, "dtype": "float64"}
    return nr.init_params("lstm", 3, 4, **options, rng=2)


ARRAYS = {name: np.abs(w) for name, w in network().items()}
TWICE = nr.L2(waving)
SCHEDULED: dict[str, Any] = {
    "weights": nr.L2(falling),
    "center": nr.L2(falling, center=ARRAYS, weights=ARRAYS),
    "prox": nr.Prox(nr.L1(waving, weights=ARRAYS)),
    "one of two": nr.ElasticNet(0.1, waving),
    "the other": nr.Prox(nr.ElasticNet(falling, 0.1)),
    "twice": {"weight_ih_*": TWICE, "bias_*": nr.L1(0.1), "weight_hh_l0[*]": TWICE, "*": TWICE},
    "gates": {"weight_hh_*[f]": nr.L2(falling), "weight_hh_*[o]": nr.L2(0.1), "*": nr.L1(waving)},
    "shadowed": {"weight_*": nr.L2(0.1), "weight_hh_*": nr.L2(waving)},
    "rows": nr.GroupLasso(waving),
    "rows in turn": {"weight_ih_*": nr.GroupLasso(waving), "weight_*": nr.MaxNorm(falling)},
    "rows beside others": {"weight_ih_*": nr.GroupLasso(0.1), "weight_*": nr.MaxNorm(falling)},
    "weights of gates": {
        "weight_hh_*": nr.Prox(nr.GroupLasso(waving, groups="gates", weights=np.arange(1.0, 5.0))),
        "weight_ih_l0": nr.GroupLasso(
            falling, groups="gates", weights={"weight_ih_l0": np.ones(4)}
        ),
    },
    "one gate": {"weight_hh_*[i]": [nr.MaxNorm(waving, groups="columns"), nr.L2(falling)]},
    "outgoing": nr.Prox(nr.GroupLasso(waving, groups="outgoing")),
    "sparse groups": nr.SparseGroupLasso(waving, falling),
    "sparse": nr.Prox(nr.SparseGroupLasso(waving, 0.1, groups="columns")),
    "sparse outgoing": nr.SparseGroupLasso(0.1, falling, groups="outgoing"),
    "a list": [nr.SoftOrthogonality(falling), nr.L1(waving), nr.MaxNorm(waving)],
    "matrices": {
        "weight_hh_*[*]": [nr.Prox(nr.NuclearNorm(falling, weights=np.arange(4.0))), nr.L2(waving)],
        "weight_ih_*": nr.SpectralCap(waving),
    },
}


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Remember no plan yet, and return a list that grows by one for each that is made."""
    made: list[int] = []
    real = plan.resolve
    monkeypatch.setattr(plan, "resolve", lambda *args: made.append(1) or real(*args))
    plan._kept.clear()
    return made


@pytest.mark.parametrize("name", SCHEDULED)
def test_functions_of_the_step(name: str, kept: list[int]) -> None:
    """Their numbers are those of the step, in a plan that is made once."""
    params = network()
    for step in (1, 2, 3, 10, 2):
        check(SCHEDULED[name], params, step)
    assert len(kept) == 1


@given(
    st.lists(st.tuples(st.sampled_from(sorted(SCHEDULED)), st.integers(1, 20)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_functions_in_any_order(updates: list[tuple[str, int]], random: Any) -> None:
    """More of them than are kept, for networks with other sizes between."""
    small = nr.init_params("lstm", 3, 4, dtype="float64", rng=3)
    for name, step in updates:
        of_small = name in ("weights", "one of two", "rows", "sparse", "a list")
        check(SCHEDULED[name], small if of_small and random.random() < 0.5 else network(), step)


def test_a_list_of_functions_that_changes(params: dict[str, Any]) -> None:
    terms: list[Any] = [nr.L2(falling), nr.MaxNorm(waving)]
    penalty: dict[str, Any] = {"weight_hh_*": terms, "weight_*": nr.L1(waving)}
    for step in (1, 2):
        check(penalty, params, step)
    terms.reverse()
    check(penalty, params, 3)
    terms[0] = nr.GroupLasso(falling, groups="gates")
    check(penalty, params, 4)
    penalty["weight_*"] = nr.L1(falling)
    check(penalty, params, 5)
    del terms[1]
    check(penalty, params, 6)


def test_functions_that_come_and_go(params: dict[str, Any]) -> None:
    """A new object may lie where an old one did."""
    for number in np.linspace(0, 1, 40).tolist():
        for step in (1, 3):
            check(nr.L2(lambda step, number=number: number / step), params, step)


def test_a_function_is_called_once_an_update_where_it_is_given(params: dict[str, Any]) -> None:
    calls: list[int] = []
    one = nr.GroupLasso(lambda step: calls.append(step) or 0.1)  # type: ignore[func-returns-value]
    grads, state = {name: np.ones_like(w) for name, w in params.items()}, {"step": 0}
    for _ in range(3):
        penalty = {"weight_ih_*": one, "weight_hh_*": one}
        nr.update(params, grads, state, rule=nr.SGD(0.1), penalty=penalty)
    assert calls == [1, 1, 2, 2, 3, 3]


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "negative": (-0.5, ValueError, "a finite number >= 0, got -0.5"),
    "infinite": (float("inf"), ValueError, "a finite number >= 0, got inf"),
    "nan": (float("nan"), ValueError, "a finite number >= 0, got nan"),
    "none": (None, TypeError, "a finite number >= 0, got NoneType"),
    "text": ("0.1", TypeError, "a finite number >= 0, got str"),
    "flag": (True, TypeError, "a finite number >= 0, got bool"),
    "array": (np.full(16, 0.1), TypeError, "a finite number >= 0, got ndarray"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda f: nr.L2(f), "strength"),
        (lambda f: nr.Prox(nr.ElasticNet(waving, f)), "l2"),
        (lambda f: [nr.L1(waving), nr.MaxNorm(f)], "bound"),
        (lambda f: {"weight_ih_*": nr.L2(waving), "weight_hh_*": nr.NuclearNorm(f)}, "strength"),
        (
            lambda f: {"weight_*": nr.L2(waving), "weight_hh_*": nr.SparseGroupLasso(0.1, f)},
            "group",
        ),
    ],
    ids=["weights", "prox", "list", "matrices", "shadowed"],
)
def test_wrong_numbers_at_a_later_step(
    make: Callable[[Any], Any], field: str, wrong: str, params: dict[str, Any]
) -> None:
    """Nothing has changed then, and the next update is right."""
    value, kind, text = WRONG[wrong]
    numbers: list[Any] = [0.1, 0.2, value, 0.3, 0.3]
    penalty = make(lambda step: numbers[step - 1])
    for step in (1, 2):
        check(penalty, params, step)
    before, state = {name: w.copy() for name, w in params.items()}, {"step": 2}
    grads = {name: np.ones_like(w) for name, w in params.items()}
    message = f"^{field} at step 3: expected {re.escape(text)}$"
    with pytest.raises(kind, match=message):
        nr.update(params, grads, state, rule=nr.SGD(0.1), penalty=penalty)
    assert state == {"step": 2}
    for name, w in params.items():
        np.testing.assert_array_equal(w, before[name])
    for step in (4, 5):
        check(penalty, params, step)


def test_a_function_that_fails(params: dict[str, Any]) -> None:
    numbers = {1: 0.1, 3: 0.2}
    penalty = nr.GroupLasso(lambda step: numbers[step])
    check(penalty, params, 1)
    with pytest.raises(KeyError, match=r"^2$"):
        check(penalty, params, 2)
    check(penalty, params, 3)


def test_an_update_within_another() -> None:
    """As in another thread: a plan that is in use keeps the numbers of its step."""
    params, inside = network(), network()

    def strength(step: int) -> float:
        if step == 5:
            check(penalty, inside, 2)
        return 1 / step

    first = [
        nr.SparseGroupLasso(lambda step: 0.1 * step, lambda step: 0.2 / step),
        nr.SoftOrthogonality(lambda step: 0.1 / step),
    ]
    penalty: Any = {"weight_ih_*": first, "weight_*": [nr.MaxNorm(strength), nr.L2(strength)]}
    for step in (1, 5, 3):
        check(penalty, params, step)
