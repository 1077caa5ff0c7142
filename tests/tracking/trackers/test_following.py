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


@pytest.fixture
def impatient(monkeypatch):
    from kauldron.tracking.trackers import _courier

    monkeypatch.setattr(_courier, "_PATIENCE_IF_GONE_SECS", 0.1)


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
        pytest.param(
            ValueError("bad batch"), "failed", "ValueError: bad batch", id="error"
        ),
        pytest.param(SystemExit(0), "done", "", id="sys.exit(0)"),
        pytest.param(
            SystemExit(3),
            "failed",
            "SystemExit: 3",
            id="sys.exit(3)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            KeyboardInterrupt("Stopped by SIGTERM"),
            "interrupted",
            "Stopped by SIGTERM",
            id="signal",
            marks=pytest.mark.slow,
        ),
    ],
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


def test_a_full_disk_stops_nothing_and_is_told_in_a_line(tmp_path, impatient, capfd):
    full = kd.tracking.Publish(kd.tracking.JsonLinesPublisher("/dev/full"))
    state, _ = _trainer(tmp_path, tracking=full, evals={}).train()
    assert int(state.step) == 10
    told = capfd.readouterr().err
    assert (
        told.count("the publisher 'tracking' takes nothing: [Errno 28] No space") == 1
    )


def test_a_tracker_that_refuses_a_run_is_asked_once_and_stops_nothing(tmp_path, capfd):
    class Refuses(kd.tracking.Tracker):
        num_asked = 0

        def start(self, run):
            self.num_asked += 1
            raise kd.tracking.TrackerError("There is no project 'x'.")

    tracker = Refuses()
    state, _ = _trainer(tmp_path, tracking={"mine": tracker}, evals={}).train()
    assert (int(state.step), tracker.num_asked) == (10, 1)
    told = capfd.readouterr().err
    assert "the tracker 'mine' failed; this stops nothing" in told
    assert "There is no project 'x'." in told


def test_what_is_no_tracker_is_named(tmp_path):
    trainer = _trainer(tmp_path, tracking={"a": kd.tracking.ConsolePublisher()})
    with pytest.raises(
        kd.train.HookError, match=r"`cfg.tracking\['a'\]` must be a tracker"
    ):
        trainer.train()
    assert not (tmp_path / "digits").exists()


def test_a_call_that_is_given_as_a_text_is_shown_how_it_is_written(tmp_path):
    trainer = _trainer(tmp_path, tracking='kd.tracking.Local(project="vision")')
    with pytest.raises(
        kd.train.HookError,
        match=r"`cfg.tracking` must be .* "
        r"`'--cfg.tracking=py::kd.tracking.Local\(project=\"vision\"\)'`",
    ):
        trainer.train()


def test_what_needs_no_training_needs_no_jax():
    import subprocess

    code = (
        "import sys; from kauldron import tracking as t; "
        "[getattr(t, n) for n in ('Tracker MLflow Wandb Publish Event LocalStorage "
        "RedisPublisher open_storage'.split())]; assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _resumable(tmp_path, **changes):
    checkpointer = kd.ckpts.Checkpointer(save_interval_steps=4)
    return _trainer(tmp_path, **{"checkpointer": checkpointer, "evals": {}, **changes})


def test_a_run_that_goes_on_is_the_same_run_and_no_step_is_there_twice(tmp_path):
    breaks = {"breaks": Raises(ValueError("once"), step=7)}
    with pytest.raises(ValueError, match="once"):
        _resumable(tmp_path, hooks=breaks).train()
    trainer = _resumable(tmp_path)
    trainer.train()  # from step 4 on
    (run,) = trainer.tracking.runs()
    assert _steps(run, "train.accuracy") == list(range(10))
    assert (run["status"], run["starts"]) == ("done", 2)


@pytest.mark.slow
def test_another_run_in_the_same_workdir_is_another_run(tmp_path):
    breaks = {"breaks": Raises(ValueError("once"), step=2)}
    with pytest.raises(ValueError, match="once"):
        _trainer(tmp_path, hooks=breaks, evals={}).train()
    trainer = _trainer(tmp_path, evals={})  # nothing was saved: from step 0 on
    trainer.train()
    by_status = {run["status"]: run for run in trainer.tracking.runs()}
    assert _steps(by_status["failed"], "train.accuracy") == [0, 1]
    assert _steps(by_status["done"], "train.accuracy") == list(range(10))


def test_what_a_tracker_has_missed_is_there_after_the_next_start(
    tmp_path, impatient, capfd
):
    (tmp_path / "gone").touch()
    breaks = {"breaks": Raises(ValueError("once"), step=7)}
    with pytest.raises(ValueError, match="once"):
        _resumable(tmp_path, hooks=breaks).train()
    told = capfd.readouterr().err
    assert told.count("the tracker 'tracking' takes nothing: nobody answers.") == 1
    trainer = _resumable(tmp_path)
    assert trainer.tracking.runs() == []
    (tmp_path / "gone").unlink()
    trainer.train()
    (run,) = trainer.tracking.runs()
    assert _steps(run, "train.accuracy") == list(range(10))
    assert run["status"] == "done"


def test_what_a_tracker_has_missed_can_be_delivered_afterwards(tmp_path, impatient):
    from kauldron import konfig

    with konfig.imports():
        from tests.tracking.trackers import file_tracker as configured

    (tmp_path / "gone").touch()
    trainer = _trainer(tmp_path, evals={})
    trainer.train()
    workdir = tmp_path / "digits"
    assert "has not taken" in kd.train.run_status.read(workdir).problems[0]
    # A trainer made from a config writes it; this one was made by hand.
    cfg = konfig.ConfigDict(
        {"seed": 3, "tracking": configured.FileTracker(str(tmp_path))}
    )
    (workdir / "config.json").write_text(cfg.to_json())
    with pytest.raises(ConnectionError):
        kd.tracking.deliver(workdir, trusted=["tests"])
    (tmp_path / "gone").unlink()
    assert kd.tracking.deliver(workdir, trusted=["tests"]) == ["tracking"]
    assert kd.tracking.deliver(workdir, trusted=["tests"]) == []
    (run,) = trainer.tracking.runs()
    assert _steps(run, "train.accuracy") == list(range(10))
    assert (run["status"], run["params"]["seed"]) == ("done", 3)
