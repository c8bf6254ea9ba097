"""The GPU's benchmarks, as far as they go without one: floors, the report, and saying so."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import normrnn as nr
from bench import machine, tables
from bench.gpu import __main__ as command
from bench.gpu import contenders, points, report, session, timing
from bench.points import Point

PEAKS = {"bandwidth": 1e12, "float32": 5e13, "tf32": 4e14, "bfloat16": 8e14, "float16": 8e14}


def run_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    machine = {"date": "2000-01-01", "device": "a device", "cuda": "13", "torch": "2", "cudnn": 9}
    machine |= {"normrnn": "0", "commit": "c", "peaks": PEAKS}
    updates = [{"rule": "sgd", "size": 2_000_000, "floor": 1.0, "times": {"normrnn": 2.0}}]
    return {"machine": machine, "rows": rows, "updates": updates}


def test_floors_by_hand() -> None:
    """One step of one unit of an Elman cell with one input: seven numbers and three products."""
    point = Point("rnn_tanh", 1, 1, 1, 1)
    peaks = dict.fromkeys(PEAKS, 1.0)
    forward = points.floor(point, "forward", "float32", peaks)
    assert forward == {"bytes": 1e3 * 4 * (1 + 4 + 1), "flops": 1e3 * 2 * 2}
    assert points.floor(point, "train", "float32", peaks)["flops"] == 3 * forward["flops"]
    assert points.floor(point, "tape", "float32", peaks)["bytes"] > forward["bytes"]


@pytest.mark.parametrize("group", points.POINTS)
def test_every_point_has_a_floor(group: str) -> None:
    for point in points.POINTS[group]:
        parameters = nr.init_params(
            point.cell, point.inputs, 1, num_layers=point.layers, bidirectional=point.bidirectional
        )
        assert parameters  # the cell and its options exist
        least = [points.floor(point, one, "bfloat16", PEAKS) for one in tables.OPERATIONS]
        assert all(0 < one["bytes"] < 1e5 and 0 < one["flops"] < 1e5 for one in least)
        assert sorted(one["bytes"] for one in least) == [one["bytes"] for one in least]


def test_a_report_keeps_other_text(tmp_path: Path) -> None:
    times = {"floor": {"bytes": 0.5, "flops": 0.25}}
    times |= {"in a row": {"normrnn": 1.0, "cudnn": 3.0}, "alone": {"normrnn": 2.0, "cudnn": 4.0}}
    row = {"group": "public", "point": list(Point("lstm", 10, 2, 3, 4)), "precision": "tf32"}
    rows = [row | {"operations": {"forward": times}}, row | {"left out": "the time was over"}]
    (tmp_path / "run.json").write_text(json.dumps(run_of(rows)))
    page = tmp_path / "benchmarks.md"
    page.write_text("before\n{}\nold\n{}\nafter\n".format(*report.MARKERS))
    report.write(tmp_path / "run.json", tmp_path)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| lstm 10×2×3×4, tf32 | 1 | 100 | 3.00 | 2 | 2.00 | 0.5 (bytes) | 2.00 |" in text
    assert "cuDNN takes 3.00 × as long" in text
    assert "| sgd, 2 M weights, normrnn | 2 | 50% |" in text
    assert "- lstm 10×2×3×4, tf32: the time was over" in text
    page.write_text("no markers")
    with pytest.raises(ValueError, match="expected one <!-- gpu:begin -->"):
        report.write(tmp_path / "run.json", tmp_path)


def test_a_run_completes_an_earlier_one() -> None:
    def row(hidden: int, **more: Any) -> dict[str, Any]:
        return {"point": list(Point("gru", 5, 2, 3, hidden)), "precision": "tf32", **more}

    old = run_of([row(4, operations=1), row(5, operations=2), row(6, failed="so")])
    new = run_of([row(4, operations=3), row(5, **{"left out": "late"}), row(7, operations=4)])
    found = [one.get("operations", one) for one in command.merged(old, new)["rows"]]
    assert found == [3, 2, row(6, failed="so"), 4]
    new["machine"] |= {"commit": "another"}
    assert command.merged(old, new) == new
    assert command.merged(None, old) == old


def test_a_run_that_is_cut_off_keeps_its_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def measure(_: Any, machine: dict[str, Any]) -> Any:
        data = run_of([]) | {"machine": machine}
        for hidden in (4, 5):
            data["rows"].append({"point": [hidden], "precision": "tf32", "operations": hidden})
            yield data
        raise KeyboardInterrupt

    monkeypatch.setattr(nr.device, "device_count", lambda: 1)
    monkeypatch.setattr(command, "device_facts", lambda: run_of([])["machine"])
    monkeypatch.setattr(command, "measure", measure)
    output = tmp_path / "results" / "run.json"
    for _ in range(2):  # and what is there is completed
        with pytest.raises(KeyboardInterrupt):
            command.main(["--output", str(output)])
        assert [row["operations"] for row in json.loads(output.read_text())["rows"]] == [4, 5]
    assert [path.name for path in output.parent.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("late", "failed"), [(0.0, None), (0.5, "once timed, y differs by 5.0e-01")]
)
def test_what_was_timed_is_compared(
    monkeypatch: pytest.MonkeyPatch, late: float, failed: str | None
) -> None:
    """A contender whose later calls differ, as those of a bad recording would."""
    calls = []

    def ours(*_: Any) -> dict[str, Any]:
        def run() -> dict[str, Any]:
            calls.append("ours")
            return {"y": torch.ones(3) + (late if len(calls) > 4 else 0)}

        return dict.fromkeys(tables.OPERATIONS, run)

    monkeypatch.setattr(contenders, "ours", ours)
    same = dict.fromkeys(tables.OPERATIONS, lambda: {"y": torch.ones(3)})
    monkeypatch.setattr(contenders, "cudnn", lambda *_: same)

    def timed(both: dict[str, Any], *_: Any) -> dict[str, list[float]]:
        return {name: [float(call()["y"].numel())] for name, call in both.items()}

    monkeypatch.setattr(timing, "side_by_side", timed)
    row = command.measure_point(Point("lstm", 2, 2, 2, 2), "float32", PEAKS)
    assert row.get("failed") == failed
    assert ("operations" in row) == (failed is None)


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert machine.commit() == "unknown"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What a session would run where a GPU is, one command a line; those that say "fails" do."""
    commands: list[str] = []

    def run(*command: object, **_: Any) -> int:
        commands.append(" ".join(map(str, command)))
        return 3 if "fails" in commands[-1] else 77 if "bench_grid" in commands[-1] else 0

    monkeypatch.setattr(session, "has_gpu", lambda: True)
    monkeypatch.setattr(session, "ask_pybind11", lambda option: {"--version": "3.1.0"}.get(option))
    monkeypatch.setattr(session, "run", run)
    monkeypatch.setattr(session, "ROOT", tmp_path)
    monkeypatch.setattr(session, "BUILD", tmp_path / "built")
    monkeypatch.setattr(session, "PACKAGE", tmp_path / "package")
    return commands


def test_a_session_goes_through_all_stages(
    ran: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever fails but the build, and with a report at the end; a device may be too old."""
    (tmp_path / "bench" / "results").mkdir(parents=True)
    (tmp_path / "bench" / "results" / "gpu-a-device.json").touch()
    assert session.main(["--arch", "90a-real", "--bench", "--fails"]) == 3
    assert "== failed: bench of build, core," in capsys.readouterr().out
    assert "-DCMAKE_CUDA_ARCHITECTURES=90a-real" in ran[0]
    for part in ("ctest", "-m pytest", "bench_exchange", "--fails"):
        assert any(part in one for one in ran)
    assert ran[-1].endswith("gpu-a-device.json")
    ran.clear()
    assert session.main(["--arch", "fails"]) == 3
    assert len(ran) == 1


def test_a_session_goes_on_without_what_was_not_built(
    monkeypatch: pytest.MonkeyPatch, ran: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A test or a benchmark, say; but not with the core of an earlier build."""
    old = tmp_path / "package" / "normrnn" / "_core.so-and-so.so"
    old.parent.mkdir(parents=True)
    run, broken = session.run, ["-k 0"]

    def building(*command: object, **options: Any) -> int:
        status = run(*command, **options)
        if "--install" in command:
            old.touch()
        return 1 if any(ran[-1].endswith(one) for one in broken) else status

    monkeypatch.setattr(session, "run", building)
    assert session.main(["build", "core"]) == 1
    assert any("ctest" in one for one in ran)
    said = capsys.readouterr().out
    assert "== not built:\n" in said
    assert "== failed: build of build, core\n" in said

    broken.append("--target _core")
    ran.clear()
    assert session.main(["build", "core"]) == 1
    assert not old.exists()
    assert not any("ctest" in one or "--install" in one for one in ran)
    assert "== failed: build of build\n" in capsys.readouterr().out


@pytest.mark.parametrize("version", ["", "2.13.6"])
def test_a_session_asks_for_a_late_pybind11(
    monkeypatch: pytest.MonkeyPatch, ran: list[str], capsys: pytest.CaptureFixture, version: str
) -> None:
    monkeypatch.setattr(session, "ask_pybind11", lambda option: version)
    assert session.main(["build", "core"]) == 1
    assert not ran
    assert f"expected pybind11 3.0 or later, got {version or 'none'}" in capsys.readouterr().out


def test_a_session_extends_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where else there is the machine's own PyTorch, say."""
    show = "import os, sys; sys.exit(os.environ['PYTHONPATH'] != os.pathsep.join(sys.argv[1:]))"
    package = str(session.PACKAGE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert session.run(sys.executable, "-c", show, package, tmp_path) == 0
    monkeypatch.delenv("PYTHONPATH")
    assert session.run(sys.executable, "-c", show, package) == 0


def test_the_page_has_a_place_for_it() -> None:
    page = (report.DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert [page.count(marker) for marker in report.MARKERS] == [1, 1]


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "has_gpu", lambda: False)
    assert session.main([]) == 0
    assert capsys.readouterr().out == "no NVIDIA GPU here: nothing was built, tested or measured\n"
    monkeypatch.setattr(nr.device, "device_count", lambda: 0)
    assert command.main([]) == 0
    assert "nothing measured" in capsys.readouterr().out
