"""The index over workdirs: found, numbered, filtered, changed, made anew."""

from __future__ import annotations

import shutil

import pytest

from kauldron import kd
from tests.tracking.registry import made_runs


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kd.tracking.Workspace.create()
    return tmp_path


def test_runs_are_known_by_their_files_alone(workspace):
    made_runs.make(
        workspace / "runs" / "a",
        config={"optimizer": {"__qualname__": "optax:adam", "learning_rate": 1e-3}},
        curve=[0.1, 0.9, 0.8],
    )
    registry = kd.tracking.Registry.open()
    assert registry.index("runs").added == ("run_0001",)
    [run] = registry.runs()
    assert (run.id, run.name, run.status, run.step) == ("run_0001", "a", "done", 100)
    assert (run.project, run.experiment) == ("default", "runs")
    assert run.parameters["optimizer"] == "adam"
    assert run.parameters["optimizer.learning_rate"] == 1e-3
    accuracy = kd.tracking.MetricValue(
        last=0.8, last_step=20, best=0.9, best_step=10, mode="max"
    )
    assert dict(run.metrics) == {"eval.accuracy": accuracy}
    curve = registry.curve(run, "eval.accuracy")
    assert curve == kd.tracking.Curve(steps=(0, 10, 20), values=(0.1, 0.9, 0.8))


def test_without_its_database_a_workspace_loses_nothing(workspace):
    for name in ("a", "b", "c"):
        made_runs.make(workspace / "runs" / name, curve=[0.5])
    registry = kd.tracking.Registry.open()
    registry.index("runs")
    registry.change("b", add_tags=["good"], name="best of all", archived=True)
    registry.remove("c")
    before = registry.runs(archived=True)
    registry.close()
    for path in (workspace / ".kauldron").glob("registry.db*"):
        path.unlink()
    again = kd.tracking.Registry.open()
    assert again.runs(archived=True) == before
    made_runs.make(workspace / "runs" / "d")
    assert again.index("runs").added == ("run_0003", "run_0004")


def test_a_workdir_that_moves_keeps_its_number_and_a_copy_gets_another(workspace):
    made_runs.make(workspace / "runs" / "a")
    registry = kd.tracking.Registry.open()
    registry.index("runs")
    shutil.move("runs/a", "runs/b")
    assert registry.index("runs").updated == ("run_0001",)
    assert registry.run("run_0001").workdir == str(workspace / "runs" / "b")
    shutil.copytree("runs/b", "runs/c")
    assert registry.index("runs").added == ("run_0002",)
