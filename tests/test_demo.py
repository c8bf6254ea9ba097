"""The demonstrations, run through the command line with few steps."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import normrnn as nr
from normrnn.cli import build_app
from normrnn.demo import corpus, speed, sunspots, text
from runs import run_python


def command(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), [str(argument) for argument in arguments])


def run_demo(output: Path, *arguments: object) -> str:
    result = command("demo", "--output", output, *arguments)
    assert result.exception is None, result.exception
    assert result.exit_code == 0
    return result.stdout


def row(printed: str, name: str) -> list[float]:
    """Read the numbers of the only line of a table that begins with `name`."""
    (line,) = (line for line in printed.splitlines() if line.startswith(name))
    return [float(cell) for cell in line.removeprefix(name).split()]


def tables(printed: str) -> list[str]:
    """Return what must be the same every time: all but times, and where the picture went."""
    varying = ("normrnn ", "its NumPy reference", "time per", "The picture")
    return [line for line in printed.splitlines() if not line.startswith(varying)]


def assert_picture(path: Path) -> None:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert 1000 < width < 3000
    assert 400 < height < 1500
    assert 20_000 < len(content) < 1_000_000  # neither empty nor huge


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


TEXT = ("--data", "text", "--steps", 40, "--seed", 1, "--strength", 1e-3)
SUNSPOTS = ("--data", "sunspots", "--steps", 300, "--seed", 0)


@pytest.fixture(scope="module")
def small_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "HIDDEN", 48)
        yield


@pytest.fixture(scope="module")
def text_demo(folder: Path, small_network: None) -> str:
    return run_demo(folder / "text.png", *TEXT)


@pytest.fixture(scope="module")
def sunspots_demo(folder: Path) -> str:
    return run_demo(folder / "sunspots.png", *SUNSPOTS)


@pytest.mark.parametrize("data", ["text", "sunspots"])
def test_tables_have_all_rows_and_the_picture_is_there(
    data: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    printed = request.getfixturevalue(f"{data}_demo")
    error = {"text": "bits/char", "sunspots": "RMSE (sunspot number)"}[data]
    block = {"text": "W_hn", "sunspots": "W_hh"}[data]
    steps = {"text": TEXT, "sunspots": SUNSPOTS}[data][3]
    assert row(printed, "training steps") == [steps, steps]
    for name in (f"{error}, training part", "‖W_hh‖_F", "‖W_ih‖_F", f"σ₁({block})"):
        assert len(row(printed, name)) == 2
    assert min(row(printed, "max/min ‖∂L/∂h_t‖ in time")) >= 1
    core, one = row(printed, "normrnn")
    reference, ratio = row(printed, "its NumPy reference")
    assert one == 1
    assert ratio == pytest.approx(reference / core, rel=0.1)  # both are rounded
    assert_picture(folder / f"{data}.png")


@pytest.mark.parametrize("data", ["text", "sunspots"])
def test_l2_keeps_the_recurrent_weights_smaller(data: str, request: pytest.FixtureRequest) -> None:
    without, with_l2 = row(request.getfixturevalue(f"{data}_demo"), "‖W_hh‖_F")
    assert with_l2 < without


def test_text_learns(text_demo: str) -> None:
    uniform = np.log2(len(corpus.load().alphabet))
    assert max(row(text_demo, "bits/char, held out")) < uniform - 1.5
    assert "writes:\n\nThe " in text_demo


def test_sunspot_forecast_beats_last_years_number_and_the_mean(sunspots_demo: str) -> None:
    _, with_l2, last_year, mean = row(sunspots_demo, "RMSE (sunspot number), held out")
    assert with_l2 < 0.75 * last_year
    assert last_year < mean


def test_text_is_the_same_every_time(tmp_path: Path, text_demo: str) -> None:
    again = run_demo(tmp_path / "text.png", *TEXT)
    assert tables(again) == tables(text_demo)


def test_sunspots_are_the_same_for_any_number_of_threads(
    tmp_path: Path, sunspots_demo: str
) -> None:
    before = nr.get_num_threads()
    try:
        again = run_demo(tmp_path / "sunspots.png", *SUNSPOTS, "--threads", 3)
    finally:
        nr.set_num_threads(before)
    assert tables(again) == tables(sunspots_demo)


def test_seconds_set_the_number_of_steps(tmp_path: Path) -> None:
    printed = run_demo(tmp_path / "s.png", "--data", "sunspots", "--seconds", 0.1)
    (planned,) = (int(line.split()[0]) for line in printed.splitlines() if "steps per run" in line)
    core_ms, _ = row(printed, "normrnn")
    assert planned == pytest.approx(100 / core_ms, rel=0.25)  # the time is rounded
    steps, with_l2 = row(printed, "training steps")
    assert 1 <= steps == with_l2 <= planned


def test_a_time_limit_ends_training_early(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 0.1, 2.0, 3.9, 4.1])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    assert list(speed.progress(10, limit=4.0)) == [0.0, 0.1, 0.5, 0.975]


def test_streams_cover_the_text_in_order() -> None:
    x, target = corpus.streams(np.arange(10), 3)
    np.testing.assert_array_equal(x, [[0, 3, 6], [1, 4, 7], [2, 5, 8]])
    np.testing.assert_array_equal(target, x + 1)


def test_sunspots_are_scaled_by_the_training_part_alone() -> None:
    series = sunspots.load()
    x, target = series.training_part
    assert series.years[series.cut] == 1956
    assert np.append(x[0], target).mean() == pytest.approx(0, abs=1e-12)
    assert np.append(x[0], target).std() == pytest.approx(1)
    assert series.mean + series.spread * target[-1].item() == pytest.approx(series.numbers[255])


def test_a_disagreement_with_the_reference_is_an_error() -> None:
    def step(api, params, state):
        return 1.0, {"weight_hh_l0": np.full((2, 2), 1.0 if api is nr else 1.01)}

    params = nr.init_params("rnn_tanh", 1, 2)
    with pytest.raises(ArithmeticError, match=r"differ by 9\.9e-03"):
        speed.compare(step, params, nr.SGD(0.1))


def test_config_shows_the_version() -> None:
    result = command("config")
    assert result.exit_code == 0
    assert result.stdout.startswith("normrnn ")


def test_the_module_runs_the_command() -> None:
    assert run_python("-m", "normrnn", "config").startswith("normrnn ")
    assert "Usage: python -m normrnn" in run_python("-m", "normrnn", "--help")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", 1, "--seconds", 1), "not both"),
        (("--output", "no-such-folder/x.png"), "no-such-folder"),
        (("--strength", "inf"), "finite"),
        (("--strength", 1e39), "1e+30"),
        (("--steps", 0), "steps"),
    ],
)
def test_bad_options_are_told_before_training(arguments: tuple[object, ...], message: str) -> None:
    result = command("demo", *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_interrupt_ends_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sunspots, "run", interrupted)
    result = command("demo", "--data", "sunspots", "--output", tmp_path / "x.png")
    assert result.exit_code == 130
    assert result.output.strip() == "Stopped."


def test_training_that_diverges_ends_without_a_traceback(tmp_path: Path) -> None:
    result = command(
        "demo", "--data", "sunspots", "--strength", 1e25, "--output", tmp_path / "x.png"
    )
    assert result.exit_code == 1
    assert result.output.strip().startswith("normrnn: training diverged, try a smaller --strength")
    assert "\n" not in result.output.strip()


@pytest.mark.parametrize("missing", ["typer", "tqdm", "matplotlib"])
def test_a_missing_extra_is_named_in_one_line(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['normrnn', 'demo'];"
        "from normrnn.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f'normrnn: {missing} is not installed; install with pip install "normrnn[demo]"\n'
    )
