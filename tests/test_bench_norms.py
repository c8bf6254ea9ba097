"""The benchmark's rows of norms: all agree with PyTorch and the reference, and could disagree."""

import numpy as np
import pytest

import normrnn as nr
from bench.norms import steps, suite, updates
from bench.peers import our_norms, torch_cells, torch_groups, torch_held, torch_norms
from bench.peers import torch_penalties as penalties
from bench.peers.torch_masks import GivenMasks
from bench.row import PLAIN, STEP, Row
from bench.worker import DiffersError, Engine, compare

ROWS = suite.rows(1, quick=True)


@pytest.fixture(autouse=True)
def own_threads():
    """Put back what peers set for the whole process."""
    import torch

    before = nr.get_num_threads(), torch.get_num_threads()
    yield
    nr.set_num_threads(before[0])
    torch.set_num_threads(before[1])


def rows_of(group: str) -> list[Row]:
    return [row for row in ROWS if row.group == group]


@pytest.mark.parametrize("group", suite.GROUPS)
def test_every_way_agrees_and_can_be_timed(group: str) -> None:
    engines: dict[str, Engine] = {}
    for row in rows_of(group):
        assert row.contenders.keys() >= (
            {"normrnn"} if group == "monitor" else {"normrnn", "torch"}
        )
        for name, place in row.contenders.items():
            engine = engines.setdefault(place, Engine(place, threads=1))
            paired = name == "normrnn" or place == "torch_penalties:PEER"
            operations = {STEP, PLAIN} if paired else {STEP}
            assert engine.prepare(row.point, (STEP, PLAIN)).keys() == operations
        ours = engines[row.contenders["normrnn"]].turn((STEP, PLAIN), seconds=1e-5)
        assert len(ours[STEP]) == len(ours[PLAIN]) > 0


@pytest.mark.parametrize("group", suite.GROUPS[:-1])  # a Monitor is not part of the reference
def test_the_steps_with_and_without_are_those_of_the_reference(group: str) -> None:
    for row in rows_of(group):
        got = Engine(row.contenders["normrnn"], threads=1).peer.prepare(row.point.problem(), 1)
        true = our_norms.REFERENCES[row.point.ours](row.point.problem())
        for operation, call in got.items():
            expected = true[operation].read(true[operation].run())
            compare(operation, call.read(call.run()), expected, row.point.check)


def test_every_option_is_measured_with_every_cell_and_rule() -> None:
    of_steps = {(r.point.option, r.point.cell) for r in ROWS if r.point.ours == "our_norms:STEPS"}
    assert of_steps == {(name, c) for name, o in steps.OPTIONS.items() for c in o.cells}
    of_updates = {r.point.option for r in ROWS if r.point.ours == "our_norms:UPDATES"}
    assert of_updates == updates.OPTIONS.keys() == penalties.WAYS.keys()
    titles = [(row.group, row.point.title) for row in suite.rows(2, quick=False)]
    assert len(set(titles)) == len(titles)  # by which a run is resumed


def differs(row: Row) -> None:
    with pytest.raises(DiffersError, match="differs in"):
        Engine(row.contenders["torch"], threads=1).prepare(row.point, (STEP,))


# Adam's first step is of one size for gradients of any, so that it cannot see clips.
@pytest.mark.parametrize(
    "row",
    [
        row
        for row in ROWS
        if row.point.ours == "our_norms:UPDATES"
        and row.point.option != "nothing"
        and not (row.group == "clips" and row.point.rule.startswith("adam"))
    ],
    ids=lambda row: row.point.title,
)
def test_a_missing_term_of_an_update_is_seen(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(penalties.WAYS, row.point.option, penalties.Way())
    differs(row)


@pytest.mark.parametrize("option", [name for name in steps.STATES if name != "nothing"])
def test_a_missing_state_penalty_is_seen(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_norms, "with_omega", torch_norms.plainly)
    monkeypatch.setattr(torch_norms.Network, "look", lambda _: None)
    nothing = dict.fromkeys([*torch_norms.VALUES, nr.Omega], lambda y: 0 * y.sum())
    monkeypatch.setattr(torch_norms, "VALUES", nothing)
    for row in rows_of("states"):
        if row.point.option == option:
            differs(row)


@pytest.mark.parametrize("option", steps.DROPOUT)
def test_a_missing_mask_is_seen(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GivenMasks, "p", lambda *_: 0.0)
    for row in rows_of("dropout"):
        if row.point.option == option:
            differs(row)


def test_a_missing_norm_of_a_layer_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_cells, "layer_norm", lambda x, _, gain, bias: x * gain + bias)
    for row in rows_of("layer norm"):
        if row.point.cell.endswith("_ln"):
            differs(row)


def test_newton_finds_the_norm_of_a_group_and_which_become_zero() -> None:
    import torch

    rng = np.random.default_rng(0)
    w, h = rng.standard_normal((6, 40)), rng.random((6, 40)) + 0.1
    w[:2] *= 0.01
    mine = torch.from_numpy(w.copy())
    torch_groups.GROUPS["rows"].shrink(0.3, [mine], [torch.from_numpy(h)])
    norm = np.linalg.norm(mine, axis=1)
    assert (norm[:2] == 0).all()
    assert (norm[2:] > 0).all()
    # At the minimum (u - w) / h + λ √p u / ||u|| = 0, to the last digits that five rounds give.
    u = mine.numpy()[2:]
    left = (u - w[2:]) / h[2:] + 0.3 * 40**0.5 * u / norm[2:, None]
    np.testing.assert_allclose(left, 0, atol=1e-6)


@pytest.mark.parametrize(("way", "scale"), [("orthogonal", 2), ("spectral_norm", 2)])
def test_a_parametrization_that_does_not_hold_is_refused(way: str, scale: float) -> None:
    import torch

    w = torch.eye(4)
    torch_held.look_at(way, w, w)
    with pytest.raises(DiffersError, match=f"{way}: off by"):
        torch_held.look_at(way, scale * w, w)


def test_bytes_that_must_move() -> None:
    weights = 64 * 16
    for option, rule, arrays in [
        ("nothing", "sgd", 3),
        ("nothing", "adam", 7),
        ("L2 with center", "momentum", 6),
        ("GroupLasso, columns", "adamw", 8),
        ("Prox(GroupLasso), columns", "adamw", 9),
        ("Prox(GroupLasso), columns", "adam", 15),
    ]:
        work = updates.PenaltyPoint(option, rule, 64, 16).work(STEP)
        assert work == {"bytes": 4 * weights * arrays}
    head = updates.PenaltyPoint("GroupLasso, outgoing", "sgd", 64, 16)
    assert head.work(STEP) == {"bytes": 4 * (64 + updates.HEAD) * 16 * 4}
    assert updates.PenaltyPoint("NuclearNorm", "sgd", 8, 8).work(STEP) == {}
    measured = [
        updates.PenaltyPoint("L2", "sgd", *shape).peaks for shape in ((64, 16), updates.SMALL)
    ]
    assert measured == [("bandwidth",), ()]
