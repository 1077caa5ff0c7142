"""What asks a run to stop is obeyed at a step boundary, and leaves it whole."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import types
from typing import Any

import flax.linen as nn
import pytest
from etils import epath

from kauldron import kd, sharding
from kauldron.train import _interrupts
from kauldron.workdir import run_status
from tests.train import small_run

ROOT = pathlib.Path(__file__).parents[2]


class At(kd.train.Hook):
    """Does something when a step begins, or when a checkpoint is written."""

    def __init__(self, step, do, event="before_step"):
        self._do = {(event, step): do}

    def _at(self, event, step):
        self._do.get((event, step), lambda: None)()

    def before_step(self, run, *, step, state, batch):
        self._at("before_step", step)

    def on_checkpoint(self, run, *, step):
        self._at("on_checkpoint", step)


def _make(workdir, do, step, *, event="before_step", **changes):
    return small_run.make_trainer(
        workdir,
        **{
            "log_metrics_every": 1000,
            "checkpointer": kd.ckpts.Checkpointer(save_interval_steps=5),
            "hooks": {"at": At(step, do, event)},
            **changes,
        },
    )


def test_stop_file_ends_the_run_after_saving_and_is_gone_afterwards(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(_interrupts, "_LOOK_EVERY_SECS", 0.01)
    stop = tmp_path / "STOP"
    trainer = _make(tmp_path, stop.touch, 3, num_train_steps=10**6)
    with pytest.raises(kd.train.TrainingInterrupted, match=r"Stopped by .*/STOP") as e:
        trainer.train()
    assert e.value.saved
    assert not stop.exists()
    latest = trainer.checkpointer.latest_step
    assert latest > 3
    state, _ = _make(tmp_path, int, 0, stop_after_steps=latest + 2).train()
    assert state.step == min(latest + 2, 10)


@pytest.mark.parametrize("first", [0, 5])
def test_signal_while_a_run_starts_ends_it_before_anything_is_measured(tmp_path, first):
    evaluated = []

    @dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
    class Look(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            evaluated.append(step)

    def make(workdir, do, **changes):
        model = kd.nn.Sequential(
            inputs="batch.x", outputs="logits", layers=[_Called(do), nn.Dense(2)]
        )
        look = Look(run=kd.evals.EveryNSteps(2))
        return _make(workdir, int, 0, model=model, evals={"look": look}, **changes)

    expected, _ = make(tmp_path / "whole", int).train()
    workdir = tmp_path / "stopped"
    if first:
        make(workdir, int, stop_after_steps=first).train()
    evaluated.clear()
    trainer = make(workdir, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(
        kd.train.TrainingInterrupted, match=f"at step {first} of 10"
    ) as e:
        trainer.train()
    assert e.value.saved and trainer.checkpointer.latest_step == first
    assert not evaluated
    state, _ = make(workdir, int).train()
    assert small_run.state_hash(state) == small_run.state_hash(expected)
    assert evaluated == list(range(first + first % 2, 12, 2))


class _Called(nn.Module):
    """Does something when a model is traced."""

    do: Any

    def __call__(self, x):
        self.do()
        return x


def test_stop_file_of_a_run_that_ended_anyway_does_not_stop_the_next_one(tmp_path):
    stop = tmp_path / "STOP"
    assert _make(tmp_path, stop.touch, 9).train()[0].step == 10
    assert not stop.exists()


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
def test_signal_during_a_save_lets_it_finish(tmp_path, name):
    def send():
        signal.raise_signal(getattr(signal, name))

    trainer = _make(tmp_path, send, 5, event="on_checkpoint")
    with pytest.raises(kd.train.TrainingInterrupted, match=f"by {name} at step 6"):
        trainer.train()
    assert list(trainer.checkpointer.all_steps) == [0, 5, 6]
    assert signal.getsignal(getattr(signal, name)) == signal.SIG_DFL


def test_several_signals_of_a_scheduler_are_one_request(tmp_path):
    def send():
        for signum in (signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM):
            signal.raise_signal(signum)

    trainer = _make(tmp_path, send, 5, event="on_checkpoint")
    with pytest.raises(kd.train.TrainingInterrupted, match="by SIGUSR2 at step 6"):
        trainer.train()
    assert trainer.checkpointer.latest_step == 6


def _make_with_spy(workdir, do, seen, **changes):
    class Spy(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            seen.append(step)

    evals = {"final": Spy(run=kd.evals.Final())}
    return _make(workdir, do, 9, **{"evals": evals, **changes})


def _terminate():
    signal.raise_signal(signal.SIGTERM)


def test_signal_at_the_last_step_leaves_the_last_evaluation_to_the_next_start(tmp_path):
    seen = []
    trainer = _make_with_spy(tmp_path, _terminate, seen)
    with pytest.raises(kd.train.TrainingInterrupted, match="at step 10 of 10") as e:
        trainer.train()
    assert e.value.saved
    assert (seen, trainer.checkpointer.latest_step) == ([], 10)
    for _ in range(2):  # once, and not again
        assert _make_with_spy(tmp_path, int, seen).train()[0].step == 10
        assert seen == [10]
    assert run_status.read(tmp_path).state == "done"


@pytest.mark.parametrize("changes", [{"checkpointer": None}, {"evals": {}}])
def test_signal_at_the_last_step_lets_a_run_end_that_has_nothing_to_leave(
    tmp_path, changes
):
    trainer = _make_with_spy(tmp_path, _terminate, [], **changes)
    assert trainer.train()[0].step == 10


def test_signal_at_the_step_at_which_a_hook_stops_the_run_lets_it_end(tmp_path):
    class Stop(kd.train.Hook):
        def after_step(self, run, *, step, state, aux):
            if step == 9:
                run.stop("enough")

    seen = []
    trainer = _make_with_spy(tmp_path, _terminate, seen, num_train_steps=1000)
    trainer = dataclasses.replace(trainer, hooks={**trainer.hooks, "stop": Stop()})
    trainer.train()
    assert seen == [10]


def test_stop_file_of_a_run_that_failed_does_not_stop_the_next_one(tmp_path):
    def fail():
        (tmp_path / "STOP").touch()
        raise OSError("The disk is gone.")

    with pytest.raises(OSError, match="is gone"):
        _make(tmp_path, fail, 3).train()
    assert not (tmp_path / "STOP").exists()


def test_interrupted_run_without_a_checkpointer_says_that_nothing_is_saved(tmp_path):
    trainer = _make(
        tmp_path, lambda: signal.raise_signal(signal.SIGTERM), 2, checkpointer=None
    )
    with pytest.raises(kd.train.TrainingInterrupted, match="Nothing was saved") as e:
        trainer.train()
    assert not e.value.saved


def test_signals_within_a_while_are_one_request_and_a_later_one_ends_at_once(
    tmp_path, monkeypatch
):
    clock, ended = types.SimpleNamespace(now=0.0), []
    monkeypatch.setattr(_interrupts.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(
        _interrupts.os,
        "kill",
        lambda pid, signum: ended.append((pid, signum, signal.getsignal(signum))),
    )
    with _interrupts.catch(epath.Path(tmp_path)) as request:
        for clock.now in (0.0, 3.0, 4.9):
            signal.raise_signal(signal.SIGUSR1)
            assert request.reason == "SIGUSR1"
        assert ended == []
        clock.now = 5.0
        signal.raise_signal(signal.SIGUSR1)
    # By what happens to a process that has no handler.
    assert ended == [(os.getpid(), signal.SIGUSR1, signal.SIG_DFL)]


def test_who_presses_ctrl_c_again_means_it(tmp_path, monkeypatch):
    ended = []
    monkeypatch.setattr(
        _interrupts.os, "kill", lambda pid, signum: ended.append(signum)
    )
    with _interrupts.catch(epath.Path(tmp_path)) as request:
        for expected in ([], [signal.SIGINT]):
            signal.raise_signal(signal.SIGINT)
            assert (request.reason, ended) == ("SIGINT", expected)


def test_first_reason_to_stop_is_the_one_that_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(_interrupts, "_LOOK_EVERY_SECS", 0.001)

    def has_reason(first):
        request = _interrupts.StopRequest()
        request.reason = first
        request._agreement = types.SimpleNamespace(reached=lambda *, wanted: True)
        assert request.is_due()
        return request.reason

    assert has_reason(None) == "another process"
    assert has_reason("SIGTERM") == "SIGTERM"
    with _interrupts.catch(epath.Path(tmp_path)) as request:
        request.reason = "SIGTERM"
        (tmp_path / "STOP").touch()
        deadline = time.monotonic() + 10
        while any(t.name == "kauldron-stop-file" for t in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert request.reason == "SIGTERM"


def test_file_system_that_is_away_for_a_while_asks_for_no_stop():
    class Path:
        def exists(self):
            raise OSError("Stale file handle")

    assert not _interrupts._exists(Path())


_HANGS = """
import os, sys, time
from tests.train import small_run, test_interrupts
from kauldron import kd, sharding
def hang():
    while not os.path.exists(f"{sys.argv[1]}/checkpoints/ckpt_5"):
        time.sleep(0.1)
    print("hanging", flush=True)
    for _ in range(600):
        time.sleep(0.1)
test_interrupts._make(sys.argv[1], hang, 7).train()
"""


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", -15), ("SIGINT", 1)])
@pytest.mark.slow
def test_second_signal_leaves_at_once_and_the_last_checkpoint_is_good(
    tmp_path, name, code
):
    process = subprocess.Popen(
        [sys.executable, "-c", _HANGS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "hanging\n"
    process.send_signal(getattr(signal, name))
    for line in process.stderr:
        if "Once more ends at once" in line:
            break
    if name != "SIGINT":  # several within a while are one request
        time.sleep(_interrupts._ONE_REQUEST_SECS + 0.5)
    start = time.monotonic()
    process.send_signal(getattr(signal, name))
    process.communicate()
    assert time.monotonic() - start < 10
    assert process.returncode in (code, -2)
    trainer = _make(tmp_path, int, 0)
    assert list(trainer.checkpointer.all_steps) == [0, 5]
    assert trainer.train()[0].step == 10


@pytest.mark.parametrize(("step_secs", "expected"), [(0.05, 20), (0.001, 100), (3, 1)])
def test_processes_agree_on_stopping_about_once_a_second(
    monkeypatch, step_secs, expected
):
    now = 0.0
    monkeypatch.setattr(_interrupts.time, "monotonic", lambda: now)
    asked = []
    ask = sharding.max_over_processes
    monkeypatch.setattr(
        _interrupts.sharding,
        "max_over_processes",
        lambda values: asked.append(round(now / step_secs)) or ask(values),
    )
    agreement = _interrupts._Agreement()
    for _ in range(400):
        now += step_secs
        assert not agreement.reached(wanted=False)
    intervals = [b - a for a, b in itertools.pairwise(asked)]
    assert max(intervals) == pytest.approx(expected, abs=1)
    assert set(intervals[3:]) == {intervals[-1]}  # it does not swing


@pytest.mark.parametrize("asks_at", [1, 2, 5])
def test_process_that_is_asked_to_stop_does_so_when_the_answer_is_there(
    monkeypatch, asks_at
):
    now = 0.0
    monkeypatch.setattr(_interrupts.time, "monotonic", lambda: now)
    agreement = _interrupts._Agreement()
    stops_at = None
    for step in range(1, 8):
        now += 3.0  # longer than a second: it is asked at every step
        if agreement.reached(wanted=step >= asks_at):
            stops_at = step
            break
    # Asked at the end of the step, read at the end of the next one.
    assert stops_at == asks_at + 1
