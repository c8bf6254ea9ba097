"""The benchmark runner: peers agree, excuses are told, and a report keeps hand-written text."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import __main__ as command
from bench import machine, peers, pictures, report, run, suite, tables
from bench.norms import suite as norms
from bench.norms import updates
from bench.peers.contract import Peer
from bench.points import GATES, Point
from bench.training_points import TrainingPoint
from bench.update_points import UpdatePoint
from bench.worker import DiffersError, Engine, UnableError, compare

POINTS = [Point(cell, 5, 3, 4, 6, layers, layers == 2) for cell in GATES for layers in (1, 2)]
RAGGED = [Point(cell, 20, 4, 3, 5, ragged=True) for cell in GATES]
UPDATES = [UpdatePoint(rule, 1 << 10) for rule in ("sgd", "adam")]
TRAININGS = [TrainingPoint(cell, 5, 3, 4, 6) for cell in GATES]
OPERATIONS = ("forward", "tape", "train", "update", "step")


@pytest.fixture
def own_threads():
    """Put back what peers set for the whole process."""
    import torch

    import normrnn as nr

    before = nr.get_num_threads(), torch.get_num_threads()
    yield
    nr.set_num_threads(before[0])
    torch.set_num_threads(before[1])


# The peers whose libraries the tests need anyhow; `python -m bench` checks all in the same way.
@pytest.mark.usefixtures("own_threads")
@pytest.mark.parametrize(
    ("place", "points"),
    [
        ("ours:SEQUENCE", POINTS),
        ("ours:UPDATE", UPDATES),
        ("ours:TRAINING", TRAININGS),
        ("numpy_loop:PEER", POINTS),
        ("numpy_update:PEER", UPDATES),
        ("torch_eager:PEER", POINTS),
        ("torch_ragged:PACKED", RAGGED),
        ("torch_ragged:PADDED", RAGGED),
        ("torch_update:FUSED", UPDATES),
        ("torch_update:FOREACH", UPDATES),
        ("torch_training:PEER", TRAININGS),
        ("onednn:PEER", [point for point in POINTS if point.cell == "lstm"]),
    ],
)
def test_a_peer_agrees_with_the_core(
    place: str, points: list[Point | UpdatePoint | TrainingPoint]
) -> None:
    engine = Engine(place, threads=1)
    for point in points:
        estimates = engine.prepare(point, OPERATIONS)
        assert estimates
        for operation in estimates:
            assert min(engine.turn((operation,), seconds=1e-4)[operation]) > 0


def test_the_first_peer_of_every_group_is_normrnn() -> None:
    for group in (peers.SEQUENCE, peers.RAGGED, peers.UPDATE, peers.TRAINING):
        assert next(iter(group)) == "normrnn"


def test_a_library_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "bench.peers.jax_scan", raising=False)
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(UnableError, match=r"^not installed \(jax\)$"):
        Engine(peers.SEQUENCE["jax"], threads=1)


def test_a_mistake_in_a_peer_is_not_taken_for_a_missing_library() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_peer"):
        peers.load("no_such_peer:PEER")


def test_what_a_peer_lacks_is_told() -> None:
    with pytest.raises(UnableError, match="LSTM only"):
        Engine("onednn:PEER", threads=1).prepare(Point("gru", 2, 1, 2, 3), OPERATIONS)


@pytest.mark.parametrize(
    ("got", "message"),
    [
        ({"dx": np.ones(3)}, r"train gives \['dx'\], not \['dx', 'w'\]"),
        ({"dx": np.ones(3), "w": np.array([1, 2.1])}, "differs in w of train: .*0.1"),
        ({"dx": np.ones(3), "w": np.array([1, np.nan])}, "differs in w of train"),
    ],
)
def test_a_difference_is_told_with_its_array(got: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DiffersError, match=message):
        compare("train", got, {"dx": np.ones(3), "w": np.array([1.0, 2.0])}, POINTS[0].check)


def test_flops_and_tape_of_layers_and_directions() -> None:
    point = Point("lstm", 3, 5, 2, 7, layers=2, bidirectional=True)
    assert point.flops == 2 * 15 * 2 * 4 * 7 * ((2 + 7) + (2 * 7 + 7))
    assert point.tape_bytes == 4 * 15 * (2 + 2 * 2 * 6 * 7)
    assert Point("gru", 200, 64, 64, 128, ragged=True).rows == pytest.approx(0.53 * 12800, rel=0.05)


def test_every_row_of_a_run_names_its_group_and_its_peers() -> None:
    for quick in (False, True):
        rows = suite.rows(2, quick=quick, complete=True)
        assert all(row.contenders["normrnn"] for row in rows)
        assert {row.threads for row in rows if row.group == "scaling threads"} == {1, 2}
    assert suite.thread_counts(6) == [1, 2, 4, 6]
    assert suite.thread_counts(1) == [1]


def test_a_run_is_measured_in_processes_and_reported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run.json"
    options = ["--quick", "--groups", "call", "update", "--peers", "numpy", "--threads", "1"]
    options += ["--repeats", "1", "--seconds", "60", "--output", str(output)]
    assert command.main(options) == 0
    assert "numpy: " + np.__version__ in capfd.readouterr().out
    data = json.loads(output.read_text())
    assert [row["operation"] for row in data["rows"]] == ["forward", "train"] + 4 * ["update"]
    for row in data["rows"]:
        ours, theirs = row["results"]["normrnn"], row["results"]["numpy"]
        assert ours["q1"] <= ours["median"] <= ours["q3"]
        if row["group"] == "update":
            assert row["fraction"] == pytest.approx(
                row["bytes"] / ours["median"] / row["bandwidth"], rel=1e-2
            )
        assert row["ratios"]["numpy"] == pytest.approx(theirs["median"] / ours["median"], rel=1e-2)
    assert data["machine"]["peaks"]["1"]["flops"] > 1e8


def test_a_run_goes_on_where_it_ended(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run.json"
    options = ["--quick", "--peers", "numpy", "--threads", "1", "--repeats", "1", "--resume"]
    options += ["--output", str(output)]
    for _ in range(2):
        assert command.main([*options, "--groups", "call"]) == 0
    assert capfd.readouterr().out.count("] call: lstm") == 1
    rows = json.loads(output.read_text())["rows"]
    assert command.main([*options, "--groups", "matrices"]) == 0
    both = json.loads(output.read_text())["rows"]
    assert [row["results"] for row in both[: len(rows)]] == [row["results"] for row in rows]
    assert [row["point"]["option"] for row in both[len(rows) :]] == list(updates.MATRICES)
    for row in both[len(rows) :]:
        cost, ours = row["cost"], row["results"]["normrnn"]
        assert cost["samples"] == ours["samples"] == row["beside"]["samples"]
        assert cost["q1"] <= cost["median"] <= cost["q3"]
    monkeypatch.setattr(machine, "cpu_model", lambda: "another")
    with pytest.raises(ValueError, match=r"run\.json: expected cpu another to go on, got "):
        command.main([*options, "--groups", "call"])


def test_rows_after_the_time_are_told(tmp_path: Path) -> None:
    rows = [row for row in suite.rows(1, quick=True, complete=False) if row.group == "update"]
    measured = run.Run(rows, None, 1, seconds=0, output=tmp_path / "r.json", threads=1)
    measured.measure()
    results = measured.data["rows"][0]["results"]
    assert results["numpy"] == {"why": "not measured: the time was up"}


def made_up(*, of_norms: bool = False) -> dict:
    """Return a run in which normrnn is at half of the peak everywhere, and its peers below.

    Steps with norms take 1.1 times those without.
    """
    data = {
        "machine": {
            "cpu": "A CPU",
            "cores": 4,
            "threads": 2,
            "target": "avx2",
            "compiler": "gcc",
            "system": "Linux",
            "commit": "abc",
            "date": "2000-01-01",
            "peaks": {
                "2": {"flops": 1e11, "bandwidth": 1e10},
                "1": {"flops": 5e10, "bandwidth": 1e10},
            },
        },
        "peers": {"normrnn": "1.0", "torch": "2.0", "numpy": "3.0", "jax": "not installed (jax)"},
        "rows": [],
    }
    slower = {"normrnn": [1, 1], "torch": [1.5, 2.5], "numpy": [4] * 3}
    for row in suite.rows(2, quick=True, complete=False):
        if (row.group in norms.GROUPS) != of_norms:
            continue
        for operation in row.operations:
            peaks = data["machine"]["peaks"][str(row.threads)]
            half = 2 * row.point.work(operation).get("flops", 1e6) / peaks["flops"]
            some = {n: [half * k for k in ks] for n, ks in slower.items() if n in row.contenders}
            beside = [half / 1.1] * 2 if row.beside else []
            excuses = {"jax": "not installed (jax)"} if "jax" in row.contenders else {}
            data["rows"].append(run.describe(row, operation, some, excuses, peaks, beside))
    if not of_norms:
        data["rows"][1] |= {"tape_bytes": 3_000_000, "tape_bytes_needed": 2_000_000}
    return data


def test_a_report_fills_its_part_and_keeps_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    before, after = "# By hand\n\n", "\n\nMore by hand.\n"
    begin, end = report.MARKERS
    page.write_text(f"{before}{begin}\nlast year\n{end}{after}", encoding="utf-8")
    result = tmp_path / "run.json"
    run.save(made_up(), result)
    for _ in range(2):  # the second time it finds what the first has written
        report.write([result], tmp_path)
        text = page.read_text(encoding="utf-8")
        assert text.startswith(before)
        assert text.endswith(after)
        assert "last year" not in text
    assert "A CPU" in text
    assert "Absent: jax: not installed (jax)." in text
    assert "| Forward + backward | 2.00 | 7 of 7 | 2.00 | 4.00 | 50% |" in text
    assert "| jax | not installed (jax) |" in text
    assert "| 3 | 2 | 1.50 |" in text
    for name in ("benchmarks-peak.png", "benchmarks-best.png", "benchmarks-scaling.png"):
        assert f"(pictures/{name})" in text
        assert 20_000 < (tmp_path / "pictures" / name).stat().st_size < 600_000


def test_a_report_of_norms_leaves_the_other_tables_alone(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    markers = report.MARKERS + report.NORMS
    page.write_text("{}\nlast year\n{}\n{}\nthe year before\n{}".format(*markers), encoding="utf-8")
    data = made_up(of_norms=True)
    for row in data["rows"]:
        if "bytes" in row:
            row["bandwidth"] *= row["bytes"] / 5e4  # a fourth of streaming
    result = tmp_path / "run.json"
    run.save(data, result)
    report.write([result], tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "last year" in text
    assert "the year before" not in text
    assert "| dropout | at most 1.15 | 43 of 43 | 1.10 | 1.10 |" in text
    assert "| `AR and TAR` | **1.10** | **1.10** | **1.10** | **1.10** |" in text
    assert "| `Omega` | 1.10 | 1.10 |  |  |" in text
    assert "| `AR and TAR` | 2.00 | 2.00 | 2.00 | 2.00 |" in text
    assert "| update, each weight | at least 92% | 0 of 55 | 25% | 25% |" in text
    assert "The same step twice, as a measure of the noise: 1.10 to 1.10, median 1.10." in text
    for title in ("Clipped gradients", "Groups of weights", "Penalties of matrices", "Monitor"):
        assert f"### {title}" in text


def test_a_peer_joins_with_the_ratios_of_its_own_run() -> None:
    data, other = made_up(), made_up()
    other["peers"] = {"torch": "3.0", "fast": "1.0"}
    for row in other["rows"][:2]:
        row["results"] = {"torch": {"median": 1.0}, "fast": {"median": 2.0}}
        row["ratios"] = {"torch": 0.5, "fast": 1.25}
    other["rows"].append(other["rows"][0] | {"title": "of a row that the first run lacks"})
    report.add_peers(data, other)
    assert data["peers"]["torch"] == "2.0"
    assert data["peers"]["fast"] == "1.0 (in a run of its own)"
    for row in data["rows"][:2]:
        assert row["ratios"] == pytest.approx({"torch": 2.0, "numpy": 4.0, "fast": 1.25})
        assert row["best_peer"] == "fast"
    assert data["rows"][2:] == made_up()["rows"][2:]


@pytest.mark.parametrize("text", ["none", "<!-- b --> <!-- a -->", "<!-- a -->", ""])
def test_a_page_without_its_markers_is_refused(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"page\.md: expected one <!-- a --> and one <!-- b -->"):
        report.put_between(("<!-- a -->", "<!-- b -->"), "new", page)
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("page", "markers"),
    [
        ("benchmarks", report.MARKERS + report.NORMS),
        ("benchmarks-amx", report.MARKERS),
        ("benchmarks-avx2", report.MARKERS),
    ],
)
def test_a_page_has_its_markers(page: str, markers: tuple[str, ...]) -> None:
    text = (report.DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert [text.count(marker) for marker in markers] == [1] * len(markers)


def test_every_peer_has_a_style_and_a_contract() -> None:
    assert pictures.STYLE.keys() == peers.SEQUENCE.keys()
    assert isinstance(peers.load("ours:SEQUENCE"), Peer)


def test_geometric_mean() -> None:
    assert tables.geometric_mean([2, 8]) == pytest.approx(4)
    assert np.isnan(tables.geometric_mean([]))
