"""Many write at once: nobody meets a lock, and no row is lost."""

from __future__ import annotations

import concurrent.futures
import shutil

import pytest

from kauldron import kd
from tests.tracking.registry import concurrency, made_runs


def test_threads_enter_runs_at_once_into_a_registry_that_does_not_exist_yet(tmp_path):
    def enter(i: int) -> str:
        registry = kd.tracking.Registry.open(tmp_path / "registry.db")
        run = registry.register(made_runs.make(tmp_path / "runs" / str(i)))
        return registry.change(run, add_tags=[f"tag{i}"]).id

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(enter, range(16)))
    assert sorted(ids) == [f"run_{i:04d}" for i in range(1, 17)]
    registry = kd.tracking.Registry.open(tmp_path / "registry.db")
    assert {run.tags for run in registry.runs()} == {(f"tag{i}",) for i in range(16)}


@pytest.mark.slow
def test_sixteen_processes_write_at_once_and_some_are_killed(tmp_path):
    concurrency.check_that_nothing_is_lost(
        str(tmp_path / "registry.db"),
        tmp_path / "runs",
        processes=16,
        runs_each=12,
        kills=6,
    )
    # And once more, from the files alone.
    before = {
        run.id: run.tags
        for run in kd.tracking.Registry.open(tmp_path / "registry.db").runs()
    }
    for path in tmp_path.glob("registry.db*"):
        path.unlink()
    again = kd.tracking.Registry.open(tmp_path / "registry.db")
    assert {run.id: run.tags for run in again.runs()} == before
    shutil.rmtree(tmp_path / "runs")
    assert len(again.runs()) == len(before)
