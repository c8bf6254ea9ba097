"""Pictures: the numbers that they return, and that the artists hold just those."""

import re
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pytest

import normrnn as nr
from normrnn import diagnostics, plots
from runs import run_python

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    pyplot.close("all")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def recorded(steps: int = 6, cell: str = "lstm") -> nr.Monitor:
    params = nr.init_params(cell, 3, 5)
    monitor = nr.Monitor(every=2, strict=True)
    for step in range(steps):
        out = nr.forward(cell, normal(9, 2, 3).astype("f"), params)
        loss, dy = nr.squared_error(out.y, np.zeros_like(out.y), reduction="mean")
        grads = nr.backward(out.tape, dy)
        info = nr.update(params, grads.params, rule=nr.SGD(lr=0.1))
        monitor.record(step, params=params, grads=grads, info=info, tape=out.tape, loss=loss)
    return monitor


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_gradient_flow() -> None:
    h_norm = np.stack([0.9 ** np.arange(20.0)[::-1], 1.1 ** np.arange(20.0)])
    h_norm[1, -1] = 0  # has no place on a log axis
    ax, flow = plots.gradient_flow(h_norm, directions=2)
    np.testing.assert_array_equal(flow.norm, h_norm)
    assert ax.get_yscale() == "log"
    for line, norm in zip(ax.lines, h_norm, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), np.where(norm > 0, norm, np.nan))
        np.testing.assert_array_equal(line.get_xdata(), np.arange(20))
    assert texts(ax) == ["l0  × 0.90 per step back", "l0 reverse  × 1.10 per step back"]
    assert [text.get_color() for text in ax.texts] == [line.get_color() for line in ax.lines]
    low, high = ax.get_ylim()
    assert low <= h_norm[h_norm > 0].min() < h_norm.max() <= high


def test_gradient_flow_of_both_directions() -> None:
    params = nr.init_params("rnn_tanh", 2, 4, bidirectional=True)
    out = nr.forward("rnn_tanh", np.ones((9, 2, 2), np.float32), params)
    ax, flow = plots.gradient_flow(nr.backward(out.tape, out.y))
    assert flow.names == ("l0", "l0_reverse")
    assert ax.get_xlim() == (0, 8)


def test_gradient_flow_of_nothing_but_zeros() -> None:
    ax, flow = plots.gradient_flow(np.zeros((1, 5)))
    assert np.isnan(flow.rate).all()
    assert texts(ax) == []
    ax.figure.draw_without_rendering()


def test_norms_over_training() -> None:
    monitor = recorded()
    ax, lines = plots.norms(monitor)
    assert list(lines.y) == ["weight_l2/weight_ih_l0", "weight_l2/weight_hh_l0"]
    assert lines.x.tolist() == [0, 2, 4]
    for line, (name, values) in zip(ax.lines, lines.y.items(), strict=True):
        np.testing.assert_array_equal(values, monitor.history[name])
        np.testing.assert_array_equal(line.get_ydata(), values)
        np.testing.assert_array_equal(line.get_xdata(), lines.x)
    assert texts(ax) == ["weight_ih_l0", "weight_hh_l0"]
    assert "Frobenius" in ax.get_ylabel()
    assert ax.get_ylim()[0] == 0


def test_names_of_what_to_draw() -> None:
    monitor = recorded()
    gates = plots.norms(monitor, "weight_l2/weight_hh_l0[*]").numbers.y
    assert list(gates) == [f"weight_l2/weight_hh_l0[{g}]" for g in "ifgo"]
    one = plots.norms(monitor, ["weight_l2/weight_hh_l0[f]", "weight_sigma/*"]).numbers.y
    assert list(one) == ["weight_l2/weight_hh_l0[f]", "weight_sigma/weight_hh_l0"]
    ax, loss = plots.norms(monitor, "loss")
    assert list(loss.y) == ["loss"]
    assert texts(ax) == []
    assert ax.get_ylabel() == "loss"
    assert len(loss.x) == 6


def test_a_log_axis_where_it_is_right() -> None:
    monitor = nr.Monitor()
    for step, loss in enumerate(np.geomspace(10, 1e-3, 20)):
        monitor.record(step, loss=loss)
    assert plots.norms(monitor, "loss").ax.get_yscale() == "log"
    monitor.record(20, loss=-1.0)
    assert plots.norms(monitor, "loss").ax.get_yscale() == "linear"


def test_lambda_path() -> None:
    strengths = np.array([1e-2, 1e-4, 1e-3])
    values = np.array([[0.0, 1.0], [0.9, -2.0], [0.5, -1.5]])
    ax, lines = plots.lambda_path(strengths, values, labels=["a", "b"], best=1e-3, ylabel="weight")
    assert lines.x.tolist() == [1e-4, 1e-3, 1e-2]
    assert lines.y["a"].tolist() == [0.9, 0.5, 0.0]
    assert lines.y["b"].tolist() == [-2.0, -1.5, 1.0]
    for line, values in zip(ax.lines[:2], lines.y.values(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), values)
        np.testing.assert_array_equal(line.get_xdata(), lines.x)
    assert ax.get_xlim() == (1e-2, 1e-4)
    assert ax.get_xscale() == "log"
    assert texts(ax) == ["λ = 0.001", "a", "b"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("penalty strength λ", "weight")


def test_many_lines_have_few_labels() -> None:
    values = np.arange(40.0)[None] * np.array([[1.0], [0.5]])
    ax, lines = plots.lambda_path([1.0, 2.0], values)
    assert sorted(map(int, texts(ax))) == list(range(32, 40))
    assert len(lines.y) == len(ax.lines) == 40


def test_one_strength_and_one_score() -> None:
    ax, lines = plots.lambda_path([0.1], [3.0])
    assert ax.get_xlim() == (0.2, 0.05)
    assert lines.y["0"].tolist() == [3.0]
    assert texts(ax) == []


def test_a_path_that_ends_without_a_penalty() -> None:
    """As `path` makes it: the last λ is 0, which no logarithmic axis has."""
    strengths = np.array([1e-2, 1e-3, 0.0])
    ax, lines = plots.lambda_path(strengths, np.array([0.0, 0.5, 0.9]), best=0.0)
    assert lines.x.tolist() == [0.0, 1e-3, 1e-2]
    assert lines.y["0"].tolist() == [0.9, 0.5, 0.0]
    assert ax.get_xlim() == (1e-2, 0.0)
    assert texts(ax) == ["λ = 0"]
    # What is at 0 lies at the end, and 1e-3 well before it.
    ends = ax.transAxes.inverted().transform(ax.transData.transform([(x, 0) for x in lines.x]))
    assert ends[0, 0] == pytest.approx(1)
    assert 0.2 < ends[1, 0] < 0.8
    ax, lines = plots.lambda_path([0.0], [3.0])
    assert ax.get_xlim() == (1.0, 0.0)
    ax, _ = plots.lambda_path([0.1, 0.2], [3.0, 2.0], best=0.0)
    ax.figure.canvas.draw()
    assert ax.get_xlim() == (0.2, 0.0)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_relu"])
def test_gate_saturation(cell: str) -> None:
    params = nr.init_params(cell, 3, 6, num_layers=2, bidirectional=True, dtype="float64")
    params = {name: 6 * w for name, w in params.items()}
    found = diagnostics.saturation(nr.forward(cell, normal(9, 4, 3), params).tape)
    ax, numbers = plots.gate_saturation(found)
    assert numbers is found
    rows = len(found.names) * len(found.gates)
    bars = [100 * -found.low.mean(axis=2).ravel(), 100 * found.high.mean(axis=2).ravel()]
    widths = [bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(widths, np.concatenate(bars), atol=1e-12)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    names = [name.replace("_", " ") for name in found.names]
    assert labels == [f"{n}  {g}" for n in names for g in found.gates]
    assert sum(text.endswith(" %") for text in texts(ax)) == 2 * rows
    assert max(np.abs(widths)) <= ax.get_xlim()[1]


def test_spectrum() -> None:
    params = nr.init_params("lstm", 3, 8, num_layers=2, dtype="float64")
    ax, values = plots.spectrum(params, name="weight_hh_l1")
    assert list(values) == list("ifgo")
    circle, *clouds = ax.lines
    np.testing.assert_allclose(np.hypot(*circle.get_data()), 1)
    for g, (cloud, gate) in enumerate(zip(clouds, values, strict=True)):
        exact = np.linalg.eigvals(params["weight_hh_l1"][8 * g : 8 * g + 8])
        np.testing.assert_array_equal(values[gate], exact)
        np.testing.assert_array_equal(cloud.get_xdata(), exact.real)
        np.testing.assert_array_equal(cloud.get_ydata(), exact.imag)
        assert f"{gate}   ρ = {np.abs(exact).max():.2f}" in texts(ax)
    assert ax.get_aspect() == 1


def test_spectrum_of_a_matrix_and_of_one_gate() -> None:
    W = np.diag([2.0, -0.5])
    ax, values = plots.spectrum(W)
    assert sorted(values["W"].real) == [-0.5, 2.0]
    assert texts(ax) == ["ρ = 2.00"]
    assert ax.get_xlim()[1] > 2
    elman = plots.spectrum(nr.init_params("rnn_tanh", 3, 8))
    assert list(elman.numbers) == ["weight_hh_l0"]
    assert plots.spectrum(np.array([0.5, -0.25])).numbers["W"].tolist() == [0.5, -0.25]


def test_each_draws_where_it_is_told() -> None:
    monitor = recorded()
    tape = nr.forward("gru", normal(9, 2, 3), nr.init_params("gru", 3, 5, dtype="float64")).tape
    calls = [
        lambda ax: plots.gradient_flow(np.ones((1, 5)), ax=ax),
        lambda ax: plots.norms(monitor, ax=ax),
        lambda ax: plots.lambda_path([1.0, 2.0], [1.0, 2.0], ax=ax),
        lambda ax: plots.gate_saturation(diagnostics.saturation(tape), ax=ax),
        lambda ax: plots.spectrum(np.eye(2), ax=ax),
    ]
    figure, places = pyplot.subplots(1, len(calls))
    for call, ax in zip(calls, places, strict=True):
        assert call(ax).ax is ax
        with pytest.raises(TypeError, match=r"\Aax: expected matplotlib axes or None, got int\Z"):
            call(3)
    figure.draw_without_rendering()
    assert len(pyplot.get_fignums()) == 1


def test_labels_keep_apart() -> None:
    places = [0.5, 0.5, 0.52, 0.0, -3.0, 1.0]
    spread = np.array(plots._style._spread(places, 0.1))
    gaps = np.diff(np.sort(spread))
    assert (gaps >= 0.1 - 1e-12).all()
    assert spread.min() >= 0
    assert spread.max() <= 1
    assert list(np.argsort(spread)) == list(np.argsort(places, kind="stable"))
    assert plots._style._spread([0.2, 0.7], 0.1) == pytest.approx([0.2, 0.7])
    assert plots._style._spread([], 0.1) == []


def test_without_matplotlib() -> None:
    code = """
import sys
import normrnn as nr, numpy as np
assert not any(name.startswith("matplotlib") for name in sys.modules)
sys.modules["matplotlib"] = None
try:
    nr.plots.spectrum(np.eye(2))
except ImportError as error:
    print(error)
"""
    expected = 'normrnn.plots: expected matplotlib, got none; pip install "normrnn[plots]"'
    assert run_python("-c", code).strip() == expected


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        ("norms", ({},), TypeError, "monitor: expected a Monitor, got dict"),
        (
            "norms",
            (nr.Monitor(), "loss"),
            ValueError,
            "names: expected some of [], got 'loss'",
        ),
        ("norms", (nr.Monitor(), "step"), ValueError, "names: expected some of [], got 'step'"),
        ("norms", (nr.Monitor(), []), ValueError, "names: expected at least one name, got none"),
        ("norms", (nr.Monitor(), [1]), TypeError, "names: expected names of type str, got int"),
        (
            "lambda_path",
            ([1.0, -0.5], [1.0, 2.0]),
            ValueError,
            "lambdas: expected finite numbers >= 0, [K], got [1.0, -0.5]",
        ),
        (
            "lambda_path",
            ([1.0, 2.0], [1.0]),
            ValueError,
            "values: expected shape (2,) or (2, P), got (1,)",
        ),
        (
            "lambda_path",
            ([1.0, 2.0], {"a": [1.0]}),
            ValueError,
            "values['a']: expected shape (2,), got (1,)",
        ),
        ("lambda_path", ([1.0], {}), ValueError, "values: expected at least one line, got none"),
        (
            "gate_saturation",
            (3,),
            TypeError,
            "saturation: expected what diagnostics.saturation returns, got int",
        ),
        (
            "spectrum",
            (np.ones((2, 3)),),
            ValueError,
            "W: expected a square matrix, got shape (2, 3)",
        ),
        (
            "spectrum",
            (np.full((2, 2), np.nan),),
            ValueError,
            "W: expected finite numbers, got nan",
        ),
        (
            "spectrum",
            (np.eye(2, dtype=int),),
            TypeError,
            "W: expected a floating-point dtype, got int64",
        ),
        ("norms", (nr.Monitor(), 3), TypeError, "names: expected a name or a sequence, got int"),
    ],
)
def test_what_is_refused(
    function: str, arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=rf"\A{re.escape(message)}\Z"):
        getattr(plots, function)(*arguments)
    assert pyplot.get_fignums() == []  # nothing was begun


def test_options_that_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\Alabels: expected 1 different ones, got \['a', 'b'\]"):
        plots.lambda_path([1.0], [[1.0]], labels=["a", "b"])
    with pytest.raises(TypeError, match=r"\Alabels: expected None beside a mapping of values"):
        plots.lambda_path([1.0], {"a": [1.0]}, labels=["a"])
    with pytest.raises(ValueError, match=r"\Abest: expected a finite number >= 0, got -1.0\Z"):
        plots.lambda_path([1.0], [1.0], best=-1)
    with pytest.raises(ValueError, match=r"\Aname: expected one of \[.*\], got 'weight_hh_l7'\Z"):
        plots.spectrum(nr.init_params("gru", 3, 4), name="weight_hh_l7")
    with pytest.raises(ValueError, match=r"\Anames: expected ones recorded at the same steps"):
        plots.norms(recorded(), ["loss", "weight_sigma/*"])
