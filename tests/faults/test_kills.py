"""A run that is killed, again and again, ends with the bits of one that is not."""

from __future__ import annotations

import random

import pytest

from tests.faults import __main__ as main
from tests.faults import chains, killers, nursery

_IN_SAVES = (killers.WRITE, killers.COMMIT, killers.CLEANUP)


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    with nursery.Nursery(num_devices=1, cache=cache) as started:
        yield started


@pytest.mark.parametrize(
    ("num_anywhere", "num_in_each_save"),
    [(1, 1), pytest.param(6, 2, marks=pytest.mark.slow)],
)
def test_run_killed_often_ends_with_the_same_bits_and_loses_no_checkpoint(
    children, tmp_path, num_anywhere, num_in_each_save
):
    name = "accumulation_and_ema"
    expected = chains.run_uninterrupted(children, name, tmp_path / "whole")
    outcome = chains.run_chain(
        children,
        name,
        tmp_path / "killed",
        expected=expected,
        phases=[killers.ANYWHERE] * num_anywhere + [*_IN_SAVES] * num_in_each_save,
        rng=random.Random(0),
    )
    assert outcome.problems == []
    num_kills = num_anywhere + num_in_each_save * len(_IN_SAVES)
    assert outcome.hits.total() + outcome.misses == num_kills
    assert sum(outcome.hits[phase] for phase in _IN_SAVES) >= 2 * num_in_each_save
    # The comparison itself: were it blind, every kill would look survived.
    other = chains.run_uninterrupted(children, "mixture", tmp_path / "other")
    assert other.state != expected.state
    assert other.items != expected.items
    assert other.metrics != expected.metrics


@pytest.mark.slow
def test_command_prints_a_table(monkeypatch, capsys):
    args = ["--kills=2", "--seed=1", "--runs", "mixture"]
    monkeypatch.setattr("sys.argv", ["faults", *args])
    assert main.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| run | chains | anywhere | array write |")
    assert lines[2].startswith("| mixture | 1 |")
    assert lines[2].endswith("| 2 | 0 |")
    assert lines[-1] == "No problem."


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eight_devices_fsdp", "two_processes_fsdp"])
def test_split_state_survives_kills(tmp_path, name):
    [outcome] = main.kill_many(tmp_path, [name], num_kills=4, seed=0)
    assert outcome.problems == []
    assert outcome.hits.total() == 4
