"""A runner: the same code with any backend, and every end of a run told as it was."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from kauldron import kd
from tests.tracking.runner import ridge
from tests.tracking.trackers import file_tracker
from tests.train import small_run


@pytest.fixture
def backends(tmp_path):
    (tmp_path / "runs").mkdir()
    return (
        kd.tracking.LocalStorage(tmp_path / "storage"),
        kd.tracking.MemorySettings(),
        file_tracker.FileTracker(str(tmp_path / "runs")),
        kd.tracking.JsonLinesPublisher(tmp_path / "events.jsonl"),
    )


def _events(tmp_path):
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _run(backends, **changes):
    kwargs = {"train_data": (ridge.X, ridge.Y), "eval_data": (ridge.X, ridge.Y)}
    return kd.tracking.Runner(*backends).run(ridge.Ridge, **{**kwargs, **changes})


def test_a_model_of_any_library_is_fitted_evaluated_kept_and_told_of(
    backends, tmp_path
):
    result = _run(backends, params={"rate": 0.5, "num_epochs": 3})
    storage, _, tracker, _ = backends
    (run,) = tracker.runs()
    assert (run["name"], run["status"]) == ("Ridge", "done")
    assert run["params"]["rate"] == 0.5
    assert run["params"]["model"].endswith("ridge:Ridge")
    # The first loss is that of zero weights: (1 + 4 + 9) / 3.
    assert run["points"][0] == [0, {"train.loss": pytest.approx(14 / 3)}]
    assert [step for step, _ in run["points"]] == [0, 1, 2, 2]
    assert result.metrics["eval.error"] == run["points"][-1][1]["eval.error"] < 0.3
    assert json.loads(run["artifacts"]["model"]) == [3, *result.model.weights]
    assert storage.list() == [f"Ridge/{result.id}/model"]
    kinds = [event["kind"] for event in _events(tmp_path)]
    assert kinds == [
        *("started", "metric", "metric", "metric", "evaluation", "checkpoint", "ended")
    ]


@pytest.mark.parametrize(
    ("breaks", "raised", "status", "message"),
    [
        ("error", ValueError, "failed", "ValueError: bad batch"),
        ("exit(0)", SystemExit, "done", ""),
        ("exit(3)", SystemExit, "failed", "SystemExit: 3"),
        ("SIGTERM", KeyboardInterrupt, "interrupted", "Stopped by SIGTERM."),
    ],
)
def test_a_run_that_breaks_off_is_told_so_and_the_error_goes_on(
    backends, tmp_path, breaks, raised, status, message
):
    with pytest.raises(raised):
        _run(backends, params={"breaks": breaks})
    (run,) = backends[2].runs()
    assert (run["status"], run["message"]) == (status, message)
    assert [step for step, _ in run["points"]] == [0, 1, 2]
    last = _events(tmp_path)[-1]
    assert last["kind"] == ("failed" if status == "failed" else "ended")
    assert (last["status"], last.get("message", "")) == (status, message)


def test_a_run_goes_on_with_the_model_that_it_saved(backends):
    first = _run(backends, params={"num_epochs": 3})
    second = _run(backends, params={"num_epochs": 1}, id=first.id)
    assert second.id == first.id
    (run,) = backends[2].runs()
    assert run["starts"] == 2
    losses = [v["train.loss"] for _, v in run["points"] if "train.loss" in v]
    assert len(losses) == 4 and losses == sorted(losses, reverse=True)


def test_a_tracker_that_is_gone_does_not_stop_a_run(backends, tmp_path, monkeypatch):
    from kauldron.tracking.trackers import _courier

    monkeypatch.setattr(_courier, "_PATIENCE_IF_GONE_SECS", 0.2)
    (tmp_path / "runs" / "gone").touch()
    start = time.monotonic()
    result = _run(backends)
    assert time.monotonic() - start < 10
    assert result.id == "" and result.metrics["eval.error"] < 5
    assert _events(tmp_path)[-1]["status"] == "done"


def test_a_part_of_a_run_is_kept_as_its_part(backends):
    whole = _run(backends)
    part = _run(backends, name="fold", parent=whole.id)
    by_name = {run["name"]: run for run in backends[2].runs()}
    assert by_name["fold"]["parent"] == whole.id != part.id


def test_what_can_neither_be_trained_nor_fitted_is_named(backends):
    with pytest.raises(kd.tracking.TrackerError, match=r"has no `fit`"):
        kd.tracking.Runner(*backends).run(dict)
    assert backends[2].runs() == []


def test_backends_come_from_the_settings_of_the_workspace(tmp_path, monkeypatch):
    workspace = kd.tracking.Workspace.create(tmp_path)
    workspace.settings.set("storage", str(tmp_path / "kept"))
    monkeypatch.chdir(tmp_path)
    result = kd.tracking.Runner().run(
        ridge.Ridge, name="ridge", train_data=(ridge.X, ridge.Y)
    )
    (run,) = kd.tracking.Registry.open().runs("train.loss < 10")
    assert (run.id, run.name, run.status) == (result.id, "ridge", "done")
    assert (tmp_path / "kept" / "ridge" / "run_0001" / "model").exists()


def test_a_config_is_trained_and_its_workdir_is_stored(backends, tmp_path):
    trainer = small_run.make_trainer(
        tmp_path / "digits",
        num_train_steps=4,
        log_metrics_every=1,
        evals={"eval": kd.evals.Evaluator(run=kd.evals.Final())},
    )
    result = kd.tracking.Runner(*backends).run(trainer)
    storage, _, tracker, _ = backends
    (run,) = tracker.runs()
    assert (run["name"], run["status"]) == ("digits", "done")
    assert result.metrics["eval.accuracy"] == run["points"][-1][1]["eval.accuracy"]
    assert {"digits/status.json", "digits/metrics.jsonl"} <= set(storage.list())
    kinds = [event["kind"] for event in _events(tmp_path)]
    assert (kinds[0], kinds[-1]) == ("started", "ended")


@pytest.mark.slow
def test_a_killed_run_goes_on_under_its_id(tmp_path):
    kd.tracking.Workspace.create(tmp_path)
    code = (
        "from kauldron import tracking as t; from tests.tracking.runner import ridge;"
        "import sys; t.Runner(tracker=t.Local(registry=sys.argv[1])).run(ridge.Ridge,"
        "params={'breaks': 'SIGKILL'}, train_data=(ridge.X, ridge.Y))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    assert done.returncode == -9
    (dead,) = kd.tracking.Registry.open(tmp_path).runs()
    tracker = kd.tracking.Local(registry=str(tmp_path))
    result = kd.tracking.Runner(tracker=tracker).run(
        ridge.Ridge, id=dead.id, train_data=(ridge.X, ridge.Y)
    )
    (run,) = kd.tracking.Registry.open(tmp_path).runs()
    assert (run.id, run.status) == (result.id, "done")
    curve = kd.tracking.Registry.open(tmp_path).curve(run, "train.loss")
    lines = (tmp_path / "runs" / "Ridge" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == len(curve.steps) == 4
