"""The papers' tasks ask what they say, learning begins, and runs of the same kind are kept once."""

import json

import numpy as np
import pytest

from bench.papers import __main__ as command
from bench.papers import adding, report, tasks, temporal_order

RNG = 3


def test_order_of_two_symbols_is_the_class():
    x, target = tasks.temporal_order(40, 50, np.random.default_rng(RNG))
    symbols = x.argmax(axis=2)
    assert x.shape == (40, 50, 6)
    for column, wanted in zip(symbols.T, target, strict=True):
        first, second = column[column < 2]  # two, and all others distractors
        assert 2 * first + second == wanted


def test_sum_of_the_marked_numbers_is_the_answer():
    x, target = tasks.adding(30, 50, np.random.default_rng(RNG))
    numbers, marks = x[..., 0], x[..., 1]
    np.testing.assert_array_equal(marks[:15].sum(axis=0), 1)
    np.testing.assert_array_equal(marks[15:].sum(axis=0), 1)
    np.testing.assert_allclose(target[:, 0], (numbers * marks).sum(axis=0))


@pytest.mark.parametrize("way", adding.WAYS, ids=lambda way: way.name)
def test_every_way_of_adding_trains(way):
    outcome = adding.run(way, 10, 0, 30, check_every=20)
    assert outcome.updates == 30  # at most, though 40 would be the next to check
    assert outcome.curve == ((20, outcome.curve[0][1]), (30, outcome.error))
    assert outcome.error < 1  # the square of always answering 0 is 7/6


@pytest.mark.parametrize("way", temporal_order.WAYS, ids=lambda way: way.name)
def test_every_way_of_temporal_order_trains(way):
    outcome = temporal_order.run(way, 10, 0, 30, check_every=20)
    assert outcome.updates == 30
    assert 0 <= outcome.accuracy <= 1


def test_run_takes_the_place_of_one_of_its_kind(tmp_path):
    file = tmp_path / "adding.json"
    old = [{"length": 10, "way": "GRU", "seed": seed, "error": 1.0} for seed in (0, 1)]
    file.write_text(json.dumps({"runs": old}))
    new = old[0] | {"error": 0.5}
    assert command.merged(file, new) == [new, old[1]]
    assert command.merged(file, new | {"length": 20}) == [*old, new | {"length": 20}]
    assert report.read(tmp_path / "none.json") == []


def test_a_way_is_asked_for_by_its_name_or_by_a_part_of_it():
    names = ["tanh", "tanh, Omega", "LSTM"]

    def found(*wanted):
        return [name for name in names if command.is_wanted(name, names, wanted)]

    assert found("") == names
    assert found("tanh") == ["tanh"]
    assert found("Om", "LSTM") == ["tanh, Omega", "LSTM"]
    assert found("tan") == ["tanh", "tanh, Omega"]


def test_report_writes_the_page_and_its_pictures(tmp_path):
    report.write(command.RESULTS, tmp_path)
    page = (tmp_path / "papers.md").read_text(encoding="utf-8")
    for task in command.TASKS:
        file = f"pictures/papers-{task}.png"
        assert f"]({file})\n\n|" in page  # a table below each picture
        assert 5_000 < (tmp_path / file).stat().st_size < 80_000
