"""Gates: patterns that name one, and a weight for each of them."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from networks import columns_of, moved, network, of_kind, scaled_group, units_of
from normrnn import reference


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
def test_every_gate_is_regularised(implementation: Any) -> None:
    """In Keras only the last gate was, once (keras#1951), and at another time one was left out."""
    for cell, gates in {"rnn_tanh": 1, "gru": 3, "lstm": 4}.items():
        for penalty in (nr.L2(0.5), nr.L1(0.5), nr.Prox(nr.L2(0.5)), nr.GroupLasso(0.5)):
            start = network(cell, 5, 2, True, "float64", seed=16)
            for w in start.values():
                w[...] = 1 + np.arange(w.size).reshape(w.shape) / w.size
            zero = {name: np.zeros_like(w) for name, w in start.items()}
            params = deepcopy(start)
            mapping = {"weight_hh_*": penalty}
            implementation.update(params, zero, rule=nr.SGD(0.1), penalty=mapping)
            for name, w in params.items():
                moved = w != start[name]
                if name.startswith("weight_hh"):
                    assert [block.all() for block in np.split(moved, gates)] == [True] * gates
                else:
                    assert not moved.any()


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
@pytest.mark.parametrize(("cell", "letters"), [("gru", "rzn"), ("lstm", "ifgo")])
def test_one_gate_alone(implementation: Any, cell: str, letters: str) -> None:
    """Gate by gate (keras#1835 skipped one): its rows move by 2 lr strength w, and no others."""
    hidden = 5
    for name in ("weight_hh_l0", "weight_ih_l1_reverse", "bias_hh_l0"):
        for k, letter in enumerate(letters):
            start = network(cell, hidden, 2, True, "float64", seed=17)
            params, zero = deepcopy(start), {n: np.zeros_like(w) for n, w in start.items()}
            implementation.update(
                params, zero, rule=nr.SGD(0.1), penalty={f"{name}[{letter}]": nr.L2(0.5)}
            )
            rows = slice(k * hidden, (k + 1) * hidden)
            wanted = deepcopy(start)
            wanted[name][rows] *= 0.9
            for other, w in params.items():
                np.testing.assert_allclose(w, wanted[other], rtol=1e-15, err_msg=other)


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
@pytest.mark.parametrize(("cell", "letters"), [("gru_ln", "rzn"), ("lstm_ln", "ifgo")])
def test_gates_of_gains(implementation: Any, cell: str, letters: str) -> None:
    params = network(cell, 5, 2, True, "float64", seed=33)
    weights = np.arange(1.0, len(letters) + 1)
    lasso = nr.GroupLasso(0.3, groups="gates", weights=weights)
    for name in ("gain_ih_l1", "gain_hh_l0", "gain_hh_l1_reverse"):
        for k, letter in enumerate(letters):
            after, value = moved(implementation, params, {f"{name}[{letter}]": nr.L2(0.5)}, 0.1)
            wanted = deepcopy(params)
            rows = slice(k * 5, (k + 1) * 5)
            wanted[name][rows] *= 0.9
            assert value == pytest.approx(0.5 * np.sum(params[name][rows] ** 2), rel=1e-13)
            for other, w in after.items():
                np.testing.assert_allclose(w, wanted[other], rtol=1e-15, err_msg=other)
        after, value = moved(implementation, params, {name: lasso}, 0.1)
        blocks = np.split(params[name], len(letters))
        norms = np.array([np.linalg.norm(block) for block in blocks])
        assert value == pytest.approx(0.3 * np.sum(weights * norms), rel=1e-13)
        factors = np.repeat(1 - 0.1 * 0.3 * weights / norms, 5)
        np.testing.assert_allclose(after[name], factors * params[name], rtol=1e-14)


@pytest.mark.parametrize("penalty", [nr.L2(0.5), nr.GroupLasso(0.5), nr.GroupLasso(0.5, "gates")])
@pytest.mark.parametrize("cell", ["rnn_tanh_ln", "gru_ln", "lstm_ln"])
def test_gains_are_spared_unless_named(cell: str, penalty: Any) -> None:
    params = network(cell, 5, 2, True, "float64", seed=34)
    patterns: list[Any] = [penalty, {"*": penalty}, {"*_hh_*": penalty}]
    patterns += [{"*[*]": penalty}] if cell != "rnn_tanh_ln" else []
    for some in patterns:
        after, _ = moved(nr, params, some, 0.1)
        changed = {name.partition("_")[0] for name, w in params.items() if (after[name] != w).any()}
        assert changed == {"weight"}
    after, _ = moved(nr, params, {"gain_*": penalty}, 0.1)
    changed = {name.partition("_")[0] for name, w in params.items() if (after[name] != w).any()}
    assert changed == {"gain"}


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
@pytest.mark.parametrize("kind", ["gradient", "prox", "bound", "norm"])
@pytest.mark.parametrize(("cell", "letters"), [("gru", "rzn"), ("lstm", "ifgo")])
def test_a_weight_for_each_gate(implementation: Any, kind: str, cell: str, letters: str) -> None:
    """Gate by gate, written out, whichever gates a pattern takes."""
    params = network(cell, 5, 2, True, "float64", seed=24)
    gates = len(letters)
    one = np.random.default_rng(25).uniform(0.5, 9, gates)
    of_each = {"weight_hh_l0": one, "weight_ih_l1_reverse": one[::-1], "bias_hh_l1": 2 * one}
    second = letters[1]
    cases: list[tuple[dict[str, Any], dict[str, np.ndarray], list[int]]] = [
        (
            {"weight_hy": None, "weight_*": of_kind(kind, groups="gates", weights=one)},
            {name: one for name in params if name[:9] in ("weight_ih", "weight_hh")},
            list(range(gates)),
        ),
        (
            {name: of_kind(kind, groups="gates", weights=of_each) for name in of_each},
            of_each,
            list(range(gates)),
        ),
        (
            {f"weight_hh_l0[{second}]": of_kind(kind, groups="gates", weights=one)},
            {"weight_hh_l0": one},
            [1],
        ),
        (
            {
                f"weight_hh_l0[{second}]": nr.L2(0.0),
                "weight_hh_l0": [nr.L2(0.0), of_kind(kind, groups="gates", weights=of_each)],
            },
            {"weight_hh_l0": one},
            [0, *range(2, gates)],
        ),
    ]
    for mapping, weights, taken in cases:
        after, value = moved(implementation, params, mapping, 0.5)
        wanted, total = deepcopy(params), 0.0
        for name, factors in weights.items():
            blocks = np.split(wanted[name], gates)  # views
            for i in taken:
                total += 0.3 * factors[i] * np.linalg.norm(blocks[i])
                blocks[i][...] = scaled_group(kind, blocks[i], factors[i], 0.5)
        for name in params:
            np.testing.assert_allclose(after[name], wanted[name], rtol=0, atol=1e-14, err_msg=name)
        lasso = kind in ("gradient", "prox")
        assert value == pytest.approx(total if lasso else 0.0, rel=1e-13)


@pytest.mark.parametrize("implementation", [nr, reference], ids=["core", "reference"])
@pytest.mark.parametrize("kind", ["gradient", "prox", "bound", "norm"])
def test_weights_for_each_parameter(implementation: Any, kind: str) -> None:
    """A mapping: of rows, and of units by the name of their layer's W_hh."""
    params = network("gru", 4, 2, True, "float64", seed=26)
    rng = np.random.default_rng(27)
    rows = {name: rng.uniform(0.5, 9, len(params[name])) for name in ("weight_hh_l0", "weight_hy")}
    penalty = of_kind(kind, weights=rows)
    after, value = moved(implementation, params, dict.fromkeys(rows, penalty), 0.5)
    wanted, total = deepcopy(params), 0.0
    for name, factors in rows.items():
        for row, factor in zip(wanted[name], factors, strict=True):
            total += 0.3 * factor * np.linalg.norm(row)
            row[...] = scaled_group(kind, row, factor, 0.5)
    lasso = kind in ("gradient", "prox")
    assert value == pytest.approx(total if lasso else 0.0, rel=1e-13)
    for name in params:
        np.testing.assert_allclose(after[name], wanted[name], rtol=0, atol=1e-14, err_msg=name)

    layers = {f"weight_hh_l{layer}": rng.uniform(0.5, 9, 8) for layer in range(2)}
    penalty = of_kind(kind, groups="outgoing", weights=layers)
    after, value = moved(implementation, params, penalty, 0.5)
    total = 0.0
    for unit, factor in zip(units_of(params), np.concatenate(list(layers.values())), strict=True):
        group = columns_of(params, unit)
        total += 0.3 * factor * np.linalg.norm(group)
        wanted_group = scaled_group(kind, group, factor, 0.5)
        np.testing.assert_allclose(columns_of(after, unit), wanted_group, rtol=0, atol=1e-14)
    assert value == pytest.approx(total if lasso else 0.0, rel=1e-13)
