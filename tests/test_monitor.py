"""The monitor: what it records, that it fails no training, and its files."""

import contextlib
import io
import math
import re
import sys
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import normrnn as nr
from normrnn import diagnostics

EVERYTHING = ("weight_zeros", "weight_radius", *nr.Monitor().sampled)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def train(monitor: nr.Monitor, steps: int, first: int = 0, **left_out: None) -> dict[str, Any]:
    """Train a small bidirectional LSTM; the last step's arguments of record."""
    params = nr.init_params("lstm", 3, 5, bidirectional=True)
    rule = nr.Adam(1e-2)
    state = nr.init_state(rule, params)
    x, target = normal(9, 2, 3), normal(9, 2, 10)
    told: dict[str, Any] = {}
    for step in range(first, first + steps):
        out = nr.forward("lstm", x, params, lengths=[9, 4])
        loss, dy = nr.squared_error(out.y, target, reduction="mean")
        grads = nr.backward(out.tape, dy)
        info = nr.update(params, grads.params, state, rule=rule, penalty=nr.L2(1e-3))
        told = {"params": params, "grads": grads, "info": info, "tape": out.tape, "loss": loss}
        monitor.record(step, **told | left_out)
    return told


def test_weights_of_no_input() -> None:
    """A network of no input has a weight_ih without a number in it: none of them is 0."""
    params = nr.init_params("gru", 0, 4)
    assert params["weight_ih_l0"].size == 0
    params["weight_hh_l0"][:4] = 0
    monitor = nr.Monitor(sampled=("weight_zeros",), strict=True)
    monitor.record(0, params=params)
    assert monitor.history["weight_zeros/weight_ih_l0"].tolist() == [0.0]
    assert monitor.history["weight_zeros/weight_ih_l0[z]"].tolist() == [0.0]
    assert monitor.history["weight_zeros/weight_hh_l0[r]"].tolist() == [1.0]


def test_what_is_recorded_at_each_step_and_what_at_every_third() -> None:
    monitor = nr.Monitor(every=3, sampled=EVERYTHING, strict=True)
    told = train(monitor, 7)
    history = monitor.history
    assert history["step"].tolist() == list(range(7))
    assert history["sampled_step"].tolist() == [0, 3, 6]
    assert history["loss"][-1] == pytest.approx(told["loss"])
    for name in ("penalty", "grad_norm", "update_norm", "param_norm", "clip_scale"):
        assert history[name].shape == (7,)
        assert history[name][-1] == getattr(told["info"], name)
        assert monitor.steps_of(name).tolist() == list(range(7))

    norms = diagnostics.weight_norms(told["params"])
    for name, norm in norms.items():
        assert history[f"weight_l2/{name}"][-1] == pytest.approx(norm.l2)
        assert history[f"weight_zeros/{name}"][-1] == norm.zeros
    for name in ("weight_hh_l0", "weight_hh_l0_reverse"):
        assert history[f"weight_sigma/{name}"][-1] == pytest.approx(norms[name].sigma, rel=1e-5)
    for name, radius in diagnostics.spectral_radii(told["params"]).items():
        assert history[f"weight_radius/{name}"][-1] == radius
    for name, norm in diagnostics.weight_norms(told["grads"].params).items():
        assert history[f"grad_l2/{name}"][-1] == pytest.approx(norm.l2)
    flow = diagnostics.gradient_flow(told["grads"].h_norm, directions=2, lengths=[9, 4])
    saturation = diagnostics.saturation(told["tape"])
    silent = diagnostics.dead_units(told["tape"]).silent
    for i, name in enumerate(("l0", "l0_reverse")):
        assert history[f"flow_rate/{name}"][-1] == flow.rate[i]
        assert history[f"flow_reach/{name}"][-1] == flow.reach[i]
        assert history[f"silent/{name}"][-1] == silent[i].mean()
        for g, gate in enumerate(("i", "f", "g", "o", "tanh(c)")):
            at = f"{name}[{gate}]"
            assert history[f"saturation_low/{at}"][-1] == pytest.approx(saturation.low[i, g].mean())
            assert history[f"saturation_high/{at}"][-1] == pytest.approx(
                saturation.high[i, g].mean()
            )
    assert all(np.isfinite(values).all() for values in history.values())
    assert monitor.steps_of("silent/l0").tolist() == [0, 3, 6]


def test_what_is_left_out_is_not_a_number() -> None:
    monitor = nr.Monitor(every=2, strict=True)
    monitor.record(10)
    monitor.record(11, loss=2.0)
    monitor.record(12, params=nr.init_params("gru", 3, 4))
    history = monitor.history
    np.testing.assert_array_equal(history["loss"], [math.nan, 2.0, math.nan])
    np.testing.assert_array_equal(np.isnan(history["weight_l2/weight_hh_l0[r]"]), [True, False])
    assert "grad_norm" not in history


def test_a_choice_of_quantities() -> None:
    monitor = nr.Monitor(every=4, each_step=["loss", "weight_sigma"], sampled=[], strict=True)
    train(monitor, 3)
    assert list(monitor.history) == [
        "step",
        "loss",
        "weight_sigma/weight_hh_l0",
        "weight_sigma/weight_hh_l0_reverse",
        "sampled_step",
    ]


def test_trouble_is_told_and_stops_nothing() -> None:
    monitor = nr.Monitor(every=1)
    params = nr.init_params("gru", 3, 4)
    params["weight_hh_l0"][2, 1] = math.nan
    told = (
        "Monitor: 'weight_sigma' could not be recorded at step 5: "
        "ValueError: W: expected finite numbers, got nan at (2, 1)"
    )
    with pytest.warns(RuntimeWarning, match=re.escape(told)) as caught:
        monitor.record(5, params=params, loss=math.nan)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a second warning would be raised
        monitor.record(6, params=params, loss=1.0)
    problem = monitor.problems["weight_sigma"]
    assert (problem.step, problem.count) == (5, 2)
    assert problem.message == told.split("step 5: ")[1]
    np.testing.assert_array_equal(monitor.history["loss"], [math.nan, 1.0])
    # σ is missing, all else is there.
    assert np.isfinite(monitor.history["weight_l2/weight_hh_l0[n]"]).all()
    assert "weight_sigma/weight_hh_l0" not in monitor.history
    params["weight_hh_l0"][2, 1] = 0
    monitor.record(7, params=params)
    sigma = monitor.history["weight_sigma/weight_hh_l0"]
    np.testing.assert_array_equal(np.isnan(sigma), [True, True, False])


def record_until(line: int, monitor: nr.Monitor, step: int, **told: Any) -> bool:
    """Record, with Ctrl-C at that line of the monitor's code; False if it has fewer."""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if "monitor" not in Path(frame.f_code.co_filename).name:
            return None
        left -= event == "line"
        if left == 0:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        monitor.record(step, **told)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_interrupt_at_any_point_leaves_a_whole_record(tmp_path: Path) -> None:
    params = nr.init_params("rnn_tanh", 1, 2)
    told = {"params": params, "loss": 2.0}
    for line in range(1, 1000):
        monitor = nr.Monitor(every=1, sampled=["weight_l2"], strict=True)
        monitor.record(0, params={"weight_hh_l0": params["weight_hh_l0"]})
        stopped = record_until(line, monitor, 1, **told)
        for _ in range(2):  # at once, and after a call more
            table, history = monitor.table(), monitor.history
            monitor.save(tmp_path / "run.npz")
            assert nr.Monitor.load(tmp_path / "run.npz").history.keys() == history.keys()
            assert table["step"].tolist() == history["sampled_step"].tolist()
            monitor.record(2, **told)
        assert table["step"].tolist() in ([0, 2], [0, 1, 2])
        assert table["loss"][1:].tolist() == [2.0] * (len(table) - 1)
        if not stopped:
            break
    assert line > 20


def test_a_strict_monitor_keeps_no_step_that_failed() -> None:
    monitor = nr.Monitor(every=1, strict=True)
    with pytest.raises(TypeError, match="params: expected a mapping"):
        monitor.record(0, params=3, loss=1.0)  # type: ignore[arg-type]
    monitor.record(1, loss=2.0)
    assert monitor.table()["step"].tolist() == [1]


def test_a_network_that_becomes_smaller() -> None:
    """As by `shrink`: σ₁ begins anew."""
    monitor = nr.Monitor(every=1, strict=True)
    for step, hidden in enumerate((8, 7, 7)):
        params = nr.init_params("gru", 3, hidden)
        monitor.record(step, params=params)
        exact = np.linalg.norm(params["weight_hh_l0"], 2)
        found = monitor.history["weight_sigma/weight_hh_l0"][-1]
        assert found == pytest.approx(exact, rel=1e-4)  # to which a sample iterates


@pytest.mark.parametrize(
    ("wrong", "quantity", "message"),
    [
        ({"step": "3"}, "step", "TypeError: step: expected an integer >= 0, got str"),
        (
            {"step": 2**63},
            "step",
            f"ValueError: step: expected an integer below 2**63, got {2**63}",
        ),
        ({"loss": "high"}, "loss", "ValueError: could not convert string to float: 'high'"),
        ({"info": 3}, "info", "TypeError: info: expected what update returned, got int"),
        ({"grads": {}}, "grad_l2", "TypeError: grads: expected what backward returned, got dict"),
        ({"params": 3}, "weight_l2", "TypeError: params: expected a mapping, got int"),
        (
            {"tape": 3},
            "saturation",
            "TypeError: tape: expected the tape of a forward pass with need_grad=True, got int",
        ),
    ],
)
def test_wrong_arguments_are_told_too(wrong: dict[str, Any], quantity: str, message: str) -> None:
    monitor = nr.Monitor()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monitor.record(**{"step": 0} | wrong)
    assert monitor.problems[quantity].message == message
    with pytest.raises((TypeError, ValueError), match=re.escape(message.split(": ", 1)[1])):
        nr.Monitor(strict=True).record(**{"step": 0} | wrong)


def test_files(tmp_path: Path) -> None:
    monitor = nr.Monitor(every=3, sampled=EVERYTHING)
    train(monitor, 5)
    with pytest.warns(RuntimeWarning, match="loss"):
        monitor.record(5, loss="no number")  # type: ignore[arg-type]
    monitor.save(tmp_path / "run.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]
    loaded = nr.Monitor.load(tmp_path / "run.npz")
    assert loaded.problems == monitor.problems
    assert (loaded.every, loaded.each_step, loaded.sampled) == (3, ("loss", "info"), EVERYTHING)
    assert loaded.history.keys() == monitor.history.keys()
    for name, values in monitor.history.items():
        np.testing.assert_array_equal(loaded.history[name], values, strict=True)
    for both in (monitor, loaded):  # the seventh call is a sampled one for both
        train(both, 1, first=6)
    for name, values in monitor.history.items():
        np.testing.assert_allclose(loaded.history[name], values, rtol=1e-4, err_msg=name)
    empty = tmp_path / "empty"  # as named, whatever the suffix
    nr.Monitor().save(empty)
    assert list(nr.Monitor.load(empty).history) == ["step", "sampled_step"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = nr.Monitor()
    monitor.record(0, loss=1.0)
    monitor.save(tmp_path / "run.npz")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("normrnn._monitor_io.os.fsync", fail)
    monitor.record(1, loss=2.0)
    with pytest.raises(OSError, match="disk full"):
        monitor.save(tmp_path / "run.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]
    assert nr.Monitor.load(tmp_path / "run.npz").history["loss"].tolist() == [1.0]


def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other"
    expected = re.escape(f"{path}: expected a file that Monitor.save wrote, got ")
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match=expected):
        nr.Monitor.load(path)
    np.save(path.with_suffix(".npy"), np.array([{}], object), allow_pickle=True)
    path.with_suffix(".npy").rename(path)
    with pytest.raises(ValueError, match=expected):
        nr.Monitor.load(path)
    with path.open("wb") as file:
        np.savez(file, x=np.ones(3))
    with pytest.raises(ValueError, match=expected + re.escape("arrays named ['x']")):
        nr.Monitor.load(path)


def test_files_that_are_damaged(tmp_path: Path) -> None:
    """Whatever zipfile, zlib and NumPy make of a flipped bit."""
    monitor, path = nr.Monitor(each_step=["loss"], sampled=[]), tmp_path / "run.npz"
    monitor.record(0, loss=1.0)
    monitor.save(path)
    whole = path.read_bytes()
    for i in range(0, len(whole), 4):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 16]) + whole[i + 1 :])
        with contextlib.suppress(ValueError):  # a bit of a date does no harm
            nr.Monitor.load(path)
    with np.load(io.BytesIO(whole)) as file:
        arrays = dict(file)
    for changed in (
        {"each_values": np.ones((1, 2))},
        {"settings": np.array("{}")},
        {"settings": np.array("[]")},
        {"settings": np.array('{"format": 1}')},
    ):
        with path.open("wb") as file:
            np.savez(file, **arrays | changed)
        with pytest.raises(ValueError, match=re.escape(f"{path}: expected ")):
            nr.Monitor.load(path)
    with pytest.raises(FileNotFoundError):
        nr.Monitor.load(tmp_path / "none")


def test_a_file_read_strictly(tmp_path: Path) -> None:
    nr.Monitor(strict=True).save(tmp_path / "run.npz")
    assert not nr.Monitor.load(tmp_path / "run.npz").strict
    monitor = nr.Monitor.load(tmp_path / "run.npz", strict=True)
    with pytest.raises(ValueError, match="could not convert"):
        monitor.record(0, loss="high")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="strict: expected True or False, got int"):
        nr.Monitor.load(tmp_path / "run.npz", strict=1)  # type: ignore[arg-type]


def test_table() -> None:
    monitor = nr.Monitor(every=2, strict=True)
    train(monitor, 5, first=100)
    table = monitor.table()
    assert table["step"].tolist() == [100, 101, 102, 103, 104]
    np.testing.assert_array_equal(table["loss"], monitor.history["loss"])
    name = "saturation_low/l0[f]"
    assert np.isnan(table[name][1::2]).all()
    np.testing.assert_array_equal(table[name][::2], monitor.history[name])
    assert nr.Monitor().table().shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"every": 0}, ValueError, "every: expected an integer >= 1, got 0"),
        ({"every": 2.0}, TypeError, "every: expected an integer >= 1, got float"),
        ({"each_step": "loss"}, TypeError, "each_step: expected names, got str"),
        ({"sampled": ["loss"]}, ValueError, "sampled: expected none of each_step, got 'loss'"),
        ({"strict": 1}, TypeError, "strict: expected True or False, got int"),
    ],
)
def test_what_is_refused(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"\A{re.escape(message)}\Z"):
        nr.Monitor(**arguments)


def test_names_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match=r"\Asampled: expected some of \['loss', .*, got 'l2'\Z"):
        nr.Monitor(sampled=["l2"])
    with pytest.raises(ValueError, match=r"\Aname: expected one in the history, got 'l2'\Z"):
        nr.Monitor().steps_of("l2")
