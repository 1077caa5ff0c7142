"""What a training tells its tracker, and how it is told how the training ended."""

from __future__ import annotations

import json
import sys

import pytest

from kauldron import kd
from tests.tracking.trackers import file_tracker
from tests.train import small_run


class Raises(kd.train.Hook):
    def __init__(self, error, step=5):
        self.error, self.step = error, step

    def before_step(self, run, *, step, state, batch):
        if step == self.step:
            raise self.error


def _trainer(tmp_path, **changes):
    kwargs = {
        "tracking": file_tracker.FileTracker(str(tmp_path)),
        "log_metrics_every": 1,
        "evals": {"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(5))},
    }
    return small_run.make_trainer(tmp_path / "digits", **{**kwargs, **changes})


def _steps(run, name):
    return [step for step, values in run["points"] if name in values]


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A run that went to its end."""
    folder = tmp_path_factory.mktemp("followed")
    trainer = _trainer(folder)
    events = kd.tracking.JsonLinesPublisher(folder / "events.jsonl")
    tracking = {"mine": trainer.tracking, "events": kd.tracking.Publish(events)}
    trainer.replace(tracking=tracking).train()
    (run,) = trainer.tracking.runs()
    lines = (folder / "events.jsonl").read_text().splitlines()
    return folder, run, [json.loads(x) for x in lines]


def test_a_tracker_gets_every_measurement_once(followed):
    folder, run, _ = followed
    assert _steps(run, "train.accuracy") == list(range(10))
    assert _steps(run, "eval.accuracy") == [0, 5, 10]
    written = small_run.records(folder / "digits", "eval")
    assert [r["metrics/accuracy"] for r in written] == [
        values["eval.accuracy"]
        for _, values in run["points"]
        if "eval.accuracy" in values
    ]


def test_a_tracker_is_told_who_the_run_is_and_that_it_is_done(followed):
    _, run, _ = followed
    assert (run["name"], run["status"], run["starts"]) == ("digits", "done", 1)


def test_a_publisher_is_told_of_events_in_their_order(followed):
    _, _, events = followed
    kinds = [event["kind"] for event in events]
    assert (kinds[0], kinds[-1]) == ("started", "ended")
    assert kinds.count("metric") == 10 and kinds.count("evaluation") == 3
    assert events[-1]["status"] == "done" and events[-1]["step"] == 10
    evaluated = [e["step"] for e in events if e["kind"] == "evaluation"]
    assert evaluated == [0, 5, 10]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("bad batch"), "failed", "ValueError: bad batch"),
        (SystemExit(0), "done", ""),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (KeyboardInterrupt("Stopped by SIGTERM"), "interrupted", "Stopped by SIGTERM"),
    ],
    ids=["error", "sys.exit(0)", "sys.exit(3)", "signal"],
)
def test_tracker_and_status_file_agree_on_how_a_run_ended(
    tmp_path, error, status, message
):
    trainer = _trainer(tmp_path, hooks={"stops": Raises(error)}, evals={})
    with pytest.raises(type(error)):
        trainer.train()
    (run,) = trainer.tracking.runs()
    assert (run["status"], run["message"]) == (status, message)
    assert _steps(run, "train.accuracy") == list(range(5))
    written = kd.train.run_status.read(tmp_path / "digits")
    assert (written.state, written.message) == (status, message)


def test_what_is_no_tracker_is_named(tmp_path):
    trainer = _trainer(tmp_path, tracking={"a": kd.tracking.ConsolePublisher()})
    with pytest.raises(kd.train.HookError, match=r"`tracking.a` must be a tracker"):
        trainer.train()
    assert not (tmp_path / "digits").exists()


def test_what_needs_no_training_needs_no_jax():
    import subprocess

    code = (
        "import sys; from kauldron import tracking as t; "
        "[getattr(t, n) for n in ('Tracker MLflow Wandb Publish Event LocalStorage "
        "RedisPublisher open_storage'.split())]; assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
