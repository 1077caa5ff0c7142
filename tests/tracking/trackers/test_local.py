"""The registry as a tracker: the contract, and runs of a training."""

from __future__ import annotations

import json
import pathlib

import pytest

from kauldron import kd
from tests.tracking import tracker_contract
from tests.train import small_run


@pytest.fixture
def workspace(tmp_path):
    kd.tracking.Workspace.create(tmp_path)
    return tmp_path


def read_run(workspace, id):
    """A run, in the words of the contract."""
    registry = kd.tracking.Registry.open(workspace)
    run = registry.run(id)
    folder = pathlib.Path(run.workdir) / "artifacts"
    curves = {name: registry.curve(run, name) for name in run.metrics}
    tags = dict(tag.partition(":")[::2] for tag in run.tags)
    registry.close()
    return {
        "name": run.name,
        "params": {k: str(v) for k, v in run.parameters.items()},
        "points": {
            k: [*zip(c.steps, c.values, strict=True)] for k, c in curves.items()
        },
        "tags": tags,
        "artifacts": {
            file.relative_to(folder).as_posix(): file.read_text()
            for file in folder.rglob("*")
            if file.is_file()
        },
        "status": run.status,
        "message": run.message,
        "parent": tags.get("part_of", ""),
    }


class TestLocal(tracker_contract.Contract):
    @pytest.fixture
    def tracker(self, workspace):
        return kd.tracking.Local(registry=str(workspace), project="vision")

    @pytest.fixture
    def read(self, workspace):
        return lambda id: read_run(workspace, id)

    def test_a_run_without_a_workdir_gets_one_in_the_workspace(
        self, tracker, workspace
    ):
        starts = [kd.tracking.RunStart(name="digits") for _ in range(2)]
        runs = [tracker.start(start) for start in starts]
        for run in runs:
            run.log_metrics([tracker_contract.point(0, eval__accuracy=0.5)])
            run.end("done")
        assert [run.id for run in runs] == ["run_0001", "run_0002"]
        names = sorted(path.name for path in (workspace / "runs").iterdir())
        assert names == ["digits", "digits_2"]

    def test_a_file_that_is_kept_is_an_artifact_of_its_run(
        self, start, workspace, tmp_path
    ):
        (tmp_path / "weights").write_text("1")
        run = start()
        run.log_artifact(tmp_path / "weights", "model")
        run.end("done")
        (kept,) = kd.tracking.Registry.open(workspace).artifacts()
        assert (kept.name, kept.version, kept.run) == ("model", 1, run.id)
        assert pathlib.Path(kept.path).read_text() == "1"

    def test_a_run_is_not_begun_over_another_one(self, start):
        start().end("done")
        with pytest.raises(kd.tracking.TrackerError, match="has a run already"):
            start()

    def test_the_registry_can_be_made_again_from_the_files_of_a_run(
        self, start, read, workspace
    ):
        run = start()
        run.log_params({"rate": 0.1})
        run.log_metrics([tracker_contract.point(0, eval__accuracy=0.5)])
        run.end("done")
        before = read(run.id)
        for file in (workspace / ".kauldron").glob("registry.db*"):
            file.unlink()
        assert read(run.id) == before


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    kd.tracking.Workspace.create(folder)
    local = kd.tracking.Local(
        registry=str(folder), project="vision", experiment="digits", tags=["first"]
    )
    evals = {"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(5))}
    small_run.make_trainer(folder / "a", tracking=local, evals=evals).train()
    return folder, local


def test_a_training_enters_itself_in_the_registry(trained):
    folder, _ = trained
    (run,) = kd.tracking.Registry.open(folder).runs("eval.accuracy >= 0")
    assert (run.id, run.name, run.status, run.step) == ("run_0001", "a", "done", 10)
    assert (run.project, run.experiment, run.tags) == ("vision", "digits", ("first",))


def test_what_the_files_of_a_training_have_is_not_written_twice(trained):
    folder, _ = trained
    lines = (folder / "a" / "metrics.jsonl").read_text().splitlines()
    keys = [(r["step"], r["collection"]) for r in map(json.loads, lines)]
    assert len(keys) == len(set(keys)) == 5 + 3


def test_without_a_workspace_nothing_is_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = small_run.make_trainer(tmp_path / "a", tracking=kd.tracking.Local())
    with pytest.raises(kd.tracking.RegistryError, match="kauldron init"):
        trainer.train()
    assert not (tmp_path / "a").exists()
