"""Diagnostics against numpy.linalg, exact Jacobians and the reference's tape.

One file, for all of it is tested on the same small networks and tapes.
"""

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import normrnn as nr
from normrnn import _core, diagnostics, reference
from runs import in_float64
from strategies import Problem, problems

CELLS = sorted(_core.cells())
# float32 states and gates of a few steps, in an order of addition of the core's own.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


# The tape's arrays


@settings(max_examples=150)
@given(problem=problems(cells=CELLS))
def test_a_tape_shows_states_and_gates(problem: Problem) -> None:
    arrays = problem.arrays()
    exact = in_float64(arrays)
    out = nr.forward(problem.cell, arrays.x, arrays.params, arrays.h0, arrays.c0, **problem.options)
    tape = reference.forward(
        problem.cell, exact.x, exact.params, exact.h0, exact.c0, **problem.options
    ).tape
    lengths = problem.lengths or (problem.times,) * problem.batch
    assert (out.tape.layers, out.tape.directions) == (problem.layers, problem.directions)
    np.testing.assert_array_equal(out.tape.lengths, lengths)
    for i, run in enumerate(tape.runs):
        states = out.tape.states(*divmod(i, problem.directions))
        gates = out.tape.gates(*divmod(i, problem.directions))
        assert gates.shape[:2] == (problem.times, problem.batch)
        for step, t in enumerate(run.order):
            after, active = run.states[step + 1], tape.active[t]
            kept = run.tapes[step][: gates.shape[2]] if gates.shape[2] > 1 else after[:1]
            shown = [*(s[t] for s in states), *(gates[t, :, g] for g in range(gates.shape[2]))]
            for actual, expected in zip(shown, [*after, *kept], strict=True):
                assert actual.dtype == problem.dtype
                np.testing.assert_allclose(
                    actual, np.where(active, expected, 0), atol=TOLERANCE[problem.dtype] * 5
                )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((2,), ValueError, "layer: expected an integer from 0 to 1, got 2"),
        ((-1,), ValueError, "layer: expected an integer from 0 to 1, got -1"),
        ((0, 1), ValueError, "direction: expected an integer from 0 to 0, got 1"),
        (("l0",), TypeError, "layer: expected an integer, got str"),
        ((0, False), TypeError, "direction: expected an integer, got bool"),
    ],
)
@pytest.mark.parametrize("method", ["states", "gates"])
def test_a_tape_has_no_such_layer(
    method: str, arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    params = nr.init_params("gru", 3, 5, num_layers=2)
    tape = nr.forward("gru", normal(4, 2, 3).astype("f"), params).tape
    with pytest.raises(error, match=rf"\A{re.escape(message)}\Z"):
        getattr(tape, method)(*arguments)


# Gradient flow


def test_rate_and_reach_of_a_geometric_series() -> None:
    back = np.stack([0.9 ** np.arange(50), 1.2 ** np.arange(50)])
    flow = diagnostics.gradient_flow(np.stack([back[0][::-1], back[1]]), directions=2)
    np.testing.assert_allclose(flow.rate, np.log([0.9, 1.2]), rtol=1e-12)
    assert flow.names == ("l0", "l0_reverse")
    assert flow.reach.tolist() == [50, 50]
    assert flow.verdict == ("flows", "explodes")
    vanishes = diagnostics.gradient_flow(back[:1, ::-1], factor=100, floor=0.01)
    assert vanishes.verdict == ("vanishes",)
    assert vanishes.reach[0] == 1 + math.floor(math.log(0.01) / math.log(0.9))


def test_flow_of_sequences_that_end_early() -> None:
    """Norms are per running sequence; forwards, only steps that all share are counted."""
    lengths, times = np.array([3, 10, 7, 0]), 12
    running = (np.arange(times)[:, None] < lengths).sum(axis=1)
    flow = diagnostics.gradient_flow(0.5 * np.sqrt(running)[None], lengths=lengths)
    np.testing.assert_allclose(flow.norm[0, :10], 0.5)
    assert np.isnan(flow.norm[0, 10:]).all()
    assert abs(flow.rate[0]) < 1e-12
    assert flow.reach.tolist() == [3]
    reverse = diagnostics.gradient_flow(
        0.5 * np.sqrt(running)[None].repeat(2, axis=0), directions=2, lengths=lengths
    )
    assert reverse.reach.tolist() == [3, 10]


@pytest.mark.parametrize(
    ("lengths", "rate", "verdict"),
    [
        ([60] * 6, math.log(0.5), "vanishes"),
        ([10, 20, 30, 40, 0, 60], math.log(0.5), "vanishes"),
        ([1, 20, 30, 40, 50, 60], math.nan, "unclear"),
    ],
)
def test_flow_of_a_ragged_batch_is_the_network_s(
    lengths: list[int], rate: float, verdict: str
) -> None:
    """A loss at each sequence's own end, and weights that halve what goes back."""
    orthogonal = np.linalg.qr(normal(4, 4))[0]
    params = {"weight_ih_l0": np.zeros((4, 2)), "weight_hh_l0": 0.5 * orthogonal}
    out = nr.forward("rnn_tanh", np.zeros((60, 6, 2)), params, lengths=lengths)
    grads = nr.backward(out.tape, dh_n=np.ones_like(out.h_n))
    flow = diagnostics.gradient_flow(grads.h_norm, lengths=lengths)
    np.testing.assert_allclose(flow.rate, [rate], rtol=1e-10)
    assert flow.verdict == (verdict,)


@pytest.mark.parametrize(
    ("norms", "verdict", "reach"),
    [
        ([0.0, 0.0, 1.0, 1.0], "vanishes", 2),  # on its way back, exactly 0
        ([1.0, 1.0, 0.0, 0.0], "flows", 4),  # a loss before the end
        ([0.0, 0.0, 0.0, 0.0], "flows", 0),
        ([math.inf, 1.0, 1.0, 1.0], "explodes", 4),
        ([math.nan, 1.0, 1.0, 1.0], "explodes", 4),
    ],
)
def test_flow_at_its_edges(norms: list[float], verdict: str, reach: int) -> None:
    flow = diagnostics.gradient_flow(np.array([norms]))
    assert (flow.verdict, flow.reach.tolist()) == ((verdict,), [reach])


def test_flow_of_a_network_is_its_eigenvalue() -> None:
    """A linear network (ReLU, all positive) with W = 0.8 I sends back 0.8 of a gradient."""
    params = {"weight_ih_l0": np.eye(3), "weight_hh_l0": 0.8 * np.eye(3)}
    out = nr.forward("rnn_relu", np.ones((30, 2, 3)), params)
    grads = nr.backward(out.tape, dh_n=np.ones((1, 2, 3)))
    flow = diagnostics.gradient_flow(grads.h_norm)
    assert flow.rate[0] == pytest.approx(math.log(0.8), rel=1e-10)


def test_flow_of_gradients_knows_the_directions() -> None:
    params = nr.init_params("rnn_tanh", 2, 8, num_layers=2, bidirectional=True, dtype="float64")
    out = nr.forward("rnn_tanh", normal(20, 3, 2), params)
    grads = nr.backward(out.tape, dh_n=np.ones_like(out.h_n))
    flow = diagnostics.gradient_flow(grads)
    assert flow.names == ("l0", "l0_reverse", "l1", "l1_reverse")
    told = diagnostics.gradient_flow(grads.h_norm, directions=2)
    np.testing.assert_array_equal(flow.rate, told.rate)
    with pytest.raises(ValueError, match="directions: expected 2 as in the gradients, got 1"):
        diagnostics.gradient_flow(grads, directions=1)


# Jacobians


def exact_jacobian(cell: str, params: dict[str, np.ndarray], x: np.ndarray, *states: Any) -> Any:
    """J of the state after x [k, 1, I], by the reference, a row at a time."""
    out = reference.forward(cell, x, params, *(s[None, None] for s in states))
    count, hidden = len(states), states[0].size
    rows = []
    for i in range(count * hidden):
        unit = np.eye(count * hidden)[i].reshape(count, 1, 1, hidden)
        grads = reference.backward(out.tape, None, *unit)
        rows.append(np.concatenate([d.ravel() for d in (grads.h0, grads.c0)[:count]]))
    return np.array(rows)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_jacobians_of_every_layer_and_direction(cell: str, batch_first: bool) -> None:
    lengths, hidden = [9, 4, 0, 6], 4
    params = nr.init_params(
        cell, 3, hidden, num_layers=2, bidirectional=True, dtype="float64", rng=1
    )
    x, h0 = normal(9, 4, 3), normal(4, 4, hidden)
    c0 = normal(4, 4, hidden, seed=1) if _core.cells()[cell][1] == 2 else None
    options = {"h0": h0, "c0": c0, "lengths": lengths, "batch_first": batch_first}
    given = x.swapaxes(0, 1) if batch_first else x
    found = diagnostics.jacobian_norms(cell, given, params, [1, 5], places=3, probes=8, **options)
    assert found.names == ("l0", "l0_reverse", "l1", "l1_reverse")
    assert found.start[1].tolist() == [[0, -1, -1, 0], [2, -1, -1, 0], [4, -1, -1, 1]]
    # Fewer probes than entries: estimates, here of many stretches at once.
    rough = diagnostics.jacobian_norms(
        cell, given, params, [1, 5], places=3, probes=3, iterations=8, **options
    )
    tape = nr.forward(cell, x, params, h0, c0, lengths=lengths).tape
    for i, name in enumerate(found.names):
        layer, d = divmod(i, 2)
        own = {n[: -len(name)] + "l0": w for n, w in params.items() if n.endswith(f"_{name}")}
        inputs = x
        if layer:
            inputs = np.concatenate([tape.states(0, e)[0] for e in (0, 1)], axis=2)
        for j, k in enumerate((1, 5)):
            for place, b in np.ndindex(3, 4):
                s = found.start[j, place, b]
                numbers = found.frobenius[i, j, place, b], found.spectral[i, j, place, b]
                if s < 0:
                    assert np.isnan(numbers).all()
                    continue
                own_x, states = inputs[: lengths[b], b], tape.states(layer, d)
                before = [a[: lengths[b], b] for a in states]
                if d:
                    own_x, before = own_x[::-1], [a[::-1] for a in before]
                first = [a[i, b] for a in (h0, c0)[: len(states)]]
                at = [a[s - 1] if s else f for a, f in zip(before, first, strict=True)]
                exact = exact_jacobian(cell, own, own_x[s : s + k][:, None], *at)
                frobenius = np.linalg.norm(exact)
                expected = frobenius, np.linalg.norm(exact, 2)
                np.testing.assert_allclose(numbers, expected, rtol=1e-10, atol=1e-14)
                # Subspace iteration comes from below; with gaps this small, to some per cent.
                sigma = rough.spectral[i, j, place, b]
                assert 0.9 * expected[1] - 1e-9 <= sigma <= expected[1] * (1 + 1e-6) + 1e-9
                # At worst χ² of three degrees of freedom over three, for a Jacobian of rank one.
                ratio = (rough.frobenius[i, j, place, b] + 1e-300) / (frobenius + 1e-300)
                assert 0.1 < ratio < 4


def test_hutchinson_is_unbiased_and_knows_its_error() -> None:
    params = nr.init_params("lstm", 3, 8, dtype="float64")
    x = normal(20, 40, 3)
    exact = diagnostics.jacobian_norms("lstm", x, params, [4], probes=16, places=4)
    assert not exact.frobenius_error.any()
    found = diagnostics.jacobian_norms("lstm", x, params, [4], probes=12, iterations=0, places=4)
    assert np.isnan(found.spectral).all()
    # 160 independent estimates: their mean has a twelfth of the error of one.
    squares = (found.frobenius**2).mean(), (exact.frobenius**2).mean()
    one = np.sqrt((2 * found.frobenius * found.frobenius_error) ** 2).mean()
    assert abs(squares[0] - squares[1]) < 4 * one / math.sqrt(160)
    errors = (found.frobenius - exact.frobenius) / found.frobenius_error
    assert 0.7 < errors.std() < 1.6


def test_jacobians_of_float32_and_of_a_choice_of_layers() -> None:
    params = nr.init_params("gru", 3, 40, num_layers=2)
    x = normal(30, 3, 3).astype("f")
    options: dict[str, Any] = {"probes": 6, "iterations": 3}
    found = diagnostics.jacobian_norms("gru", x, params, [2, 20], names=["l1"], **options)
    again = diagnostics.jacobian_norms("gru", x, params, np.array([2, 20]), names=["l1"], **options)
    assert found.frobenius.shape == (1, 2, 4, 3)
    np.testing.assert_array_equal(found.frobenius, again.frobenius)
    exact = diagnostics.jacobian_norms("gru", x, params, [2, 20], names=["l1"], probes=40)
    np.testing.assert_allclose(found.spectral, exact.spectral, rtol=0.05)


def test_memory_is_bounded_without_a_change_of_result(monkeypatch: pytest.MonkeyPatch) -> None:
    params, x = nr.init_params("gru", 3, 20, dtype="float64"), normal(30, 3, 3)
    whole = diagnostics.jacobian_norms("gru", x, params, [3, 9], probes=4)
    monkeypatch.setattr("normrnn.diagnostics._stretch.BYTES", 20_000)
    pieces = diagnostics.jacobian_norms("gru", x, params, [3, 9], probes=4)
    np.testing.assert_array_equal(whole.frobenius, pieces.frobenius)
    np.testing.assert_array_equal(whole.spectral, pieces.spectral)


# Spectra


@given(
    rows=st.integers(1, 60),
    columns=st.integers(1, 60),
    rank=st.integers(0, 60),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 99),
)
def test_spectral_norm(
    rows: int, columns: int, rank: int, scale: float, dtype: str, seed: int
) -> None:
    W = normal(rows, rank, seed=seed) @ normal(rank, columns, seed=seed + 1) * scale
    W = W.astype(dtype)
    exact = np.linalg.norm(W.astype("d"), 2)
    found = diagnostics.spectral_norm(W)
    assert found.residual <= 1e-3 * found.value
    # The residual is bound to a singular value; here it is the largest, and the error its square.
    assert exact * (1 - 1e-3) <= found.value <= exact * (1 + 1e-12)
    warm = diagnostics.spectral_norm(W, found.state, tol=1e-7)
    assert warm.value == pytest.approx(exact, rel=1e-10)
    np.testing.assert_allclose(np.linalg.norm(W.astype("d") @ warm.state), exact, rtol=1e-10)


def test_a_start_that_lacks_the_largest_direction() -> None:
    """Matrices in which a few vectors have next to nothing of it; found among thousands drawn."""
    for size, draw in ((5, 18), (3, 1870), (16, 1436)):
        rng = np.random.default_rng(size)
        W = [rng.standard_normal((size, size)) for _ in range(draw + 1)][-1]
        found = diagnostics.spectral_norm(W)
        assert found.value == pytest.approx(np.linalg.norm(W, 2), rel=1e-5)
        assert nr.SpectralNorm(1.0).gradient(W) == pytest.approx(
            nr.SpectralNorm(1.0, tolerance=1e-9).gradient(W), abs=1e-2 * found.value
        )


def test_a_warm_start_takes_fewer_steps() -> None:
    W = np.random.default_rng(0).uniform(-0.1, 0.1, (512, 128))
    cold = diagnostics.spectral_norm(W)
    moved = W + 1e-3 * normal(512, 128)
    warm = diagnostics.spectral_norm(moved, cold.state)
    assert warm.steps <= cold.steps / 2
    assert warm.value == pytest.approx(np.linalg.norm(moved, 2), rel=1e-4)


def test_a_warm_start_sees_that_another_direction_has_become_the_largest() -> None:
    first = diagnostics.spectral_norm(np.diag([2.0, 1.0, 0.5, 0.1]), tol=1e-10)
    assert abs(first.state[0]) == pytest.approx(1)
    now = diagnostics.spectral_norm(np.diag([2.0, 1.0, 2.5, 0.1]), first.state)
    assert now.value == pytest.approx(2.5, rel=1e-5)


def test_spectral_norm_says_what_it_did_not_reach() -> None:
    W = np.random.default_rng(0).uniform(-1, 1, (200, 200))
    found = diagnostics.spectral_norm(W, max_steps=3)
    assert found.steps == 3
    assert found.residual > 1e-3 * found.value
    assert np.abs(np.linalg.svd(W, compute_uv=False) - found.value).min() <= found.residual


@given(
    hidden=st.integers(1, 40),
    kind=st.sampled_from(["dense", "rotation", "cycle", "nilpotent", "low rank", "skewed"]),
    scale=st.sampled_from([1e-30, 0.9, 1e30]),
    tol=st.sampled_from([1e-2, 1e-3, 1e-5]),
    seed=st.integers(0, 99),
)
def test_spectral_radius(hidden: int, kind: str, scale: float, tol: float, seed: int) -> None:
    W = normal(hidden, hidden, seed=seed)
    if kind == "rotation":
        W = np.linalg.qr(W).Q
    elif kind == "cycle":
        W = np.roll(np.eye(hidden), 1, axis=0)
    elif kind == "nilpotent":
        W = np.triu(W, 1)
    elif kind == "low rank":
        W = W[:, :1] @ W[:1]
    elif kind == "skewed":  # eigenvectors far from orthogonal
        W = np.triu(W)
    W = W * scale
    found = diagnostics.spectral_radius(W, tol=tol)
    if kind == "nilpotent":
        assert found == 0
        return
    exact = np.abs(np.linalg.eigvals(W)).max()
    if kind in ("rotation", "cycle"):
        exact = scale
    # Triangular: the diagonal, which eigvals reads off; Gelfand has rounding times the condition.
    assert exact * (1 - 1e-6) <= found <= exact * (1 + tol) * (1 + 1e-6)


@pytest.mark.parametrize("condition", [1e3, 1e5, 1e7])
def test_spectral_radius_where_squares_drown_in_rounding(condition: float) -> None:
    """S D S⁻¹ with that condition of S; eigenvalues are known to 10⁻¹⁶ times it, or so."""
    stretch = np.geomspace(1, 1 / condition, 30)
    left, right = np.linalg.qr(normal(30, 30))[0], np.linalg.qr(normal(30, 30, seed=1))[0]
    middle = right @ np.diag(np.r_[0.9, np.linspace(-0.8, 0.8, 29)]) @ right.T
    W = (left * stretch) @ middle @ (left / stretch).T
    assert diagnostics.spectral_radius(W) == pytest.approx(0.9, rel=1e-3)


def test_spectra_of_a_diagonal_kept_as_a_vector() -> None:
    assert diagnostics.spectral_radius(np.array([0.5, -0.75])) == 0.75
    assert diagnostics.spectral_norm(np.array([3.0, 4.0])).value == pytest.approx(5)


# Weights


@pytest.mark.parametrize(("cell", "gates"), [("lstm", "ifgo"), ("gru", "rzn"), ("rnn_relu", "")])
def test_norms_of_weights_and_gates(cell: str, gates: str) -> None:
    params = nr.init_params(cell, 6, 7, num_layers=2, bidirectional=True, output_size=3)
    params["weight_hh_l1_reverse"][:7, 2:5] = 0
    state: dict[str, np.ndarray] = {}
    norms = diagnostics.weight_norms(params, state=state, tol=1e-6)
    expected = dict(params)
    for name, w in params.items():
        if "hy" not in name:
            expected |= {f"{name}[{g}]": w[7 * i : 7 * i + 7] for i, g in enumerate(gates)}
    assert norms.keys() == expected.keys()
    assert state.keys() == {name for name, w in expected.items() if w.ndim == 2}
    for name, w in expected.items():
        exact = w.astype("d")
        found = norms[name]
        assert found.l1 == pytest.approx(np.abs(exact).sum(), rel=1e-12)
        assert found.l2 == pytest.approx(np.linalg.norm(exact), rel=1e-12)
        assert found.max == np.abs(w).max()
        assert found.zeros == pytest.approx((w == 0).mean())
        sigma = np.linalg.norm(exact, 2) if w.ndim == 2 else found.l2
        assert found.sigma == pytest.approx(sigma, rel=1e-9)
    radii = diagnostics.spectral_radii(params)
    assert list(radii) == [n for n in expected if "weight_hh" in n and ("[" in n) == bool(gates)]
    for name, radius in radii.items():
        exact_radius = np.abs(np.linalg.eigvals(expected[name].astype("d"))).max()
        assert radius == pytest.approx(exact_radius, rel=2e-3)


# Activity


@pytest.mark.parametrize("cell", CELLS)
def test_saturation(cell: str) -> None:
    params = nr.init_params(
        cell, 3, 6, num_layers=2, bidirectional=True, dtype="float64", rng=np.random.default_rng(1)
    )
    params = {name: 6 * w for name, w in params.items()}
    lengths, x = [8, 3, 0, 5], normal(8, 4, 3)
    found = diagnostics.saturation(nr.forward(cell, x, params, lengths=lengths).tape, eps=0.2)
    tape = reference.forward(cell, x, params, lengths=lengths).tape
    assert found.low.shape == (4, len(found.gates), 6)
    for i, run in enumerate(tape.runs):
        for g, gate in enumerate(found.gates):
            values = []
            for step, t in enumerate(run.order):
                after, active = run.states[step + 1], tape.active[t][:, 0]
                value = after[0] if gate == "h" else None
                if value is None:
                    value = np.tanh(after[1]) if gate == "tanh(c)" else run.tapes[step][g]
                values.append(value[active])
            kept = np.concatenate(values)
            sigmoid = gate in ("i", "f", "o", "r", "z")
            low, high = (kept <= (0.2 if sigmoid else -0.8)), kept >= 0.8
            if "relu" in cell:
                low, high = kept == 0, np.zeros_like(high)
            np.testing.assert_allclose(found.low[i, g], low.mean(axis=0))
            np.testing.assert_allclose(found.high[i, g], high.mean(axis=0))
    assert found.low.any()


def test_saturation_of_no_step_at_all() -> None:
    tape = nr.forward("gru", normal(0, 2, 3), nr.init_params("gru", 3, 4, dtype="float64")).tape
    assert np.isnan(diagnostics.saturation(tape).low).all()


def test_dead_units() -> None:
    params = nr.init_params(
        "rnn_relu", 3, 6, num_layers=11, bidirectional=True, output_size=2, dtype="float64"
    )
    for name in params:
        params[name] = np.abs(params[name])
    params["bias_ih_l0_reverse"][2] = -50  # never active
    for name in ("weight_hh_l0", "weight_ih_l1", "weight_ih_l1_reverse"):
        params[name][:, 3] = 0  # unread in l0
    params["weight_ih_l1"][:, 6 + 4] = 0  # half unread in l0_reverse
    params["weight_hh_l10_reverse"][:, 5] = params["weight_hy"][:, 6 + 5] = 0
    tape = nr.forward("rnn_relu", normal(5, 2, 3), params, lengths=[5, 2]).tape
    dead = diagnostics.dead_units(tape, params)
    assert np.argwhere(dead.inactive).tolist() == [[1, 2]]
    assert np.argwhere(dead.silent).tolist() == [[1, 2]]
    assert dead.unread is not None
    assert np.argwhere(dead.unread).tolist() == [[0, 3], [21, 5]]
    headless = {name: w for name, w in params.items() if not name.endswith("hy")}
    assert np.argwhere(diagnostics.dead_units(tape, headless).unread).tolist() == [[0, 3]]
    assert diagnostics.dead_units(tape).unread is None
    # Two other heads: a unit is read if one of them reads it.
    named = headless | {"a": np.ones((2, 12)), "b": np.ones((1, 12))}
    named["a"][:, [1, 6 + 5]] = named["b"][:, [2, 6 + 5]] = 0
    unread = diagnostics.dead_units(tape, named, heads=("a", "b")).unread
    assert np.argwhere(unread).tolist() == [[0, 3], [21, 5]]


def test_silent_units_of_tanh_are_not_inactive() -> None:
    params = nr.init_params("lstm", 3, 4, dtype="float64")
    params["bias_ih_l0"][12] = -40  # the output gate of unit 0
    tape = nr.forward("lstm", normal(5, 2, 3), params).tape
    dead = diagnostics.dead_units(tape)
    assert np.argwhere(dead.silent).tolist() == [[0, 0]]
    assert not dead.inactive.any()
    assert diagnostics.dead_units(tape, threshold=2.0).silent.all()


# What is refused

GRU = nr.init_params("gru", 3, 4, dtype="float64")
X = normal(5, 2, 3)
TAPE = nr.forward("gru", X, GRU).tape
NORMS = np.ones((2, 5))


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        (
            "gradient_flow",
            ([1.0],),
            TypeError,
            "h_norm: expected Gradients or a numpy.ndarray, got list",
        ),
        (
            "gradient_flow",
            (np.ones(3),),
            ValueError,
            "h_norm: expected floating-point numbers [L*D, T], got float64 of shape (3,)",
        ),
        (
            "gradient_flow",
            (NORMS[:1], {"directions": 2}),
            ValueError,
            "directions: expected 1 or 2 that divides 1, the rows of h_norm, got 2",
        ),
        (
            "gradient_flow",
            (NORMS, {"lengths": [6, 1]}),
            ValueError,
            "lengths: expected values from 0 to 5, got 6",
        ),
        (
            "gradient_flow",
            (NORMS, {"lengths": [1.0]}),
            ValueError,
            "lengths: expected integers [B], got float64 of shape (1,)",
        ),
        (
            "gradient_flow",
            (NORMS, {"floor": 0}),
            ValueError,
            "floor: expected a finite number > 0, got 0.0",
        ),
        (
            "jacobian_norms",
            ("gru", X, GRU, [0]),
            ValueError,
            "lags: expected an integer >= 1, got 0",
        ),
        (
            "jacobian_norms",
            ("gru", X, GRU, [1.5]),
            TypeError,
            "lags: expected an integer >= 1, got float",
        ),
        (
            "jacobian_norms",
            ("gru", X, GRU, [1], {"names": ["l1"]}),
            ValueError,
            "names: expected some of ['l0'], got 'l1'",
        ),
        (
            "jacobian_norms",
            ("gru", X[0], GRU, [1]),
            TypeError,
            "x: expected a floating-point array of 3 dimensions, got float64 of shape (2, 3)",
        ),
        ("spectral_norm", ([[1.0]],), TypeError, "W: expected a numpy.ndarray, got list"),
        (
            "spectral_norm",
            (np.eye(2, dtype=int),),
            TypeError,
            "W: expected a floating-point dtype, got int64",
        ),
        (
            "spectral_norm",
            (np.array([[1.0, math.nan]]),),
            ValueError,
            "W: expected finite numbers, got nan at (0, 1)",
        ),
        (
            "spectral_norm",
            (np.eye(2), np.ones(3)),
            ValueError,
            "state: expected an array of shape (2,), got (3,)",
        ),
        (
            "spectral_norm",
            (np.eye(2), {"max_steps": 0}),
            ValueError,
            "max_steps: expected an integer >= 1, got 0",
        ),
        (
            "spectral_radius",
            (np.ones((2, 3)),),
            ValueError,
            "W: expected a square matrix, got shape (2, 3)",
        ),
        (
            "spectral_radius",
            (np.ones((2, 3, 1)),),
            ValueError,
            "W: expected 1 or 2 dimensions, got shape (2, 3, 1)",
        ),
        ("weight_norms", ([],), TypeError, "params: expected a mapping, got list"),
        (
            "weight_norms",
            ({},),
            ValueError,
            "params: expected a parameter named 'weight_hh_l0', got none of that name",
        ),
        (
            "weight_norms",
            ({"weight_hh_l0": [1]},),
            TypeError,
            "weight_hh_l0: expected a numpy.ndarray, got list",
        ),
        (
            "weight_norms",
            ({"weight_hh_l0": np.full((1, 1), math.inf)},),
            ValueError,
            "weight_hh_l0: W: expected finite numbers, got inf at (0, 0)",
        ),
        (
            "saturation",
            (None,),
            TypeError,
            "tape: expected the tape of a forward pass with need_grad=True, got NoneType",
        ),
        (
            "saturation",
            (TAPE, {"eps": 0.5}),
            ValueError,
            "eps: expected a number above 0 and below 1/2, got 0.5",
        ),
        (
            "dead_units",
            (TAPE, {"threshold": -1}),
            ValueError,
            "threshold: expected a finite number >= 0, got -1.0",
        ),
        (
            "dead_units",
            (TAPE, nr.init_params("gru", 3, 5)),
            ValueError,
            "params: expected 4 hidden units, got 5",
        ),
        (
            "dead_units",
            (TAPE, nr.init_params("gru", 3, 4, num_layers=2)),
            ValueError,
            "params: expected layers and directions ('l0',), got ('l0', 'l1')",
        ),
        (
            "dead_units",
            (TAPE, {"heads": ["a"]}),
            ValueError,
            "heads: expected none without params, got ('a',)",
        ),
        *(
            (
                "dead_units",
                (TAPE, nr.init_params("gru", 3, 4) | {"a": np.ones(shape)}, {"heads": heads}),
                error,
                message,
            )
            for shape, heads, error, message in [
                (4, ["a"], ValueError, "a: expected shape (O, 4), got (4,)"),
                ((1, 5), ["a"], ValueError, "a: expected shape (O, 4), got (1, 5)"),
                ((1, 4), ["a", "b"], ValueError, "heads: expected names of parameters, got 'b'"),
                ((1, 4), "a", TypeError, "heads: expected a sequence of names, got str"),
            ]
        ),
        (
            "spectral_norm",
            (np.eye(2), np.array([1.0, math.nan])),
            ValueError,
            "state: expected finite numbers, got others",
        ),
        (
            "jacobian_norms",
            ("gru", np.ones((2, 1, 3)), nr.init_params("gru", 3, 4, dtype="float64"), 1),
            TypeError,
            "lags: expected a sequence of integers, got int",
        ),
        (
            "jacobian_norms",
            ("gru", X, GRU, [1], {"names": "l0"}),
            TypeError,
            "names: expected a sequence of names, got str",
        ),
    ],
)
def test_what_is_refused(
    function: str, arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    options = arguments[-1] if len(arguments) > 1 and isinstance(arguments[-1], dict) else {}
    if options and "weight_hh_l0" not in options:
        arguments = arguments[:-1]
    else:
        options = {}
    with pytest.raises(error, match=rf"\A{re.escape(message)}\Z"):
        getattr(diagnostics, function)(*arguments, **options)
