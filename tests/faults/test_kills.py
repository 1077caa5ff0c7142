"""A run that is killed, again and again, ends with the bits of one that is not."""

from __future__ import annotations

import random

import pytest

from tests.faults import chains, killers, nursery

_PHASES = [killers.ANYWHERE] * 3 + [killers.WRITE, killers.COMMIT, killers.CLEANUP]


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    with nursery.Nursery(num_devices=1, cache=cache) as started:
        yield started


@pytest.mark.parametrize("name", ["in_memory", "accumulation_and_ema"])
def test_killed_run_ends_with_the_same_bits_and_loses_no_checkpoint(
    children, name, tmp_path
):
    expected = chains.run_uninterrupted(children, name, tmp_path / "whole")
    outcome = chains.run_chain(
        children,
        name,
        tmp_path / "killed",
        expected=expected,
        phases=_PHASES,
        rng=random.Random(0),
    )
    assert outcome.problems == []
    assert outcome.hits.total() + outcome.misses == len(_PHASES)
    in_saves = outcome.hits.total() - outcome.hits[killers.ANYWHERE]
    assert in_saves >= 2


def test_fingerprint_tells_apart_runs_of_different_seeds(children, tmp_path):
    # The comparison itself: were it blind, every kill would look survived.
    a = chains.run_uninterrupted(children, "in_memory", tmp_path / "a")
    b = chains.run_uninterrupted(children, "mixture", tmp_path / "b")
    assert a.state != b.state
    assert a.metrics != b.metrics
