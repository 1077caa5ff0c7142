"""A training and its evaluators in processes of their own, as from the shell."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from kauldron.workdir import run_status

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "examples/digits_standalone_eval.py"


def _start(workdir, *args):
    log = (workdir.parent / f"{workdir.name}.log").open("a")
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "kauldron.main", f"--cfg={CONFIG}"),
            *(f"--cfg.workdir={workdir}", "--cfg.aux.num_features=2"),
            "--cfg.checkpointer.save_interval_steps=20",
            *("--cfg.checkpointer.max_to_keep=None", "--cfg.log_metrics_every=1"),
            *args,
        ],
        cwd=ROOT,
        env={**env, "PYTHONPATH": str(ROOT)},
        stdout=log,
        stderr=log,
    )


def _log(workdir):
    return (workdir.parent / f"{workdir.name}.log").read_text()


def _wait_for(condition, processes, timeout_secs=120):
    deadline = time.monotonic() + timeout_secs
    while not condition():
        assert time.monotonic() < deadline
        assert all(p.poll() is None for p in processes)
        time.sleep(0.05)


def _records(workdir):
    path = workdir / "metrics.jsonl"
    return (
        [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []
    )


def _steps(workdir, collection):
    return [r["step"] for r in _records(workdir) if r["collection"] == collection]


@pytest.mark.slow
def test_both_processes_are_killed_and_nothing_is_lost_or_there_twice(tmp_path):
    workdir = tmp_path / "run"
    # So many that a training goes on while an evaluator starts.
    num_steps, every = 30_000, 1_500
    length = f"--cfg.num_train_steps={num_steps}"
    often = f"--cfg.checkpointer.save_interval_steps={every}"
    start = functools.partial(_start, workdir, often)
    names = "--eval_names=test,final"
    evaluator = start(length, names)
    _wait_for(lambda: "has not begun: waiting" in _log(workdir), [evaluator])

    training = start(length)
    _wait_for(lambda: len(_steps(workdir, "test")) >= 2, [evaluator, training])
    evaluator.kill()
    evaluator.wait()
    evaluator = start(length, names)
    _wait_for(lambda: run_status.read(workdir).step > 100, [training])
    training.kill()
    training.wait()
    _wait_for(lambda: "has died at about" in _log(workdir), [evaluator])
    evaluator.send_signal(signal.SIGTERM)
    assert evaluator.wait(timeout=60) == 75

    training = start(length)
    evaluator = start(length, names)
    assert training.wait(timeout=240) == 0, _log(workdir)
    assert evaluator.wait(timeout=120) == 0, _log(workdir)
    assert _steps(workdir, "test") == list(range(0, num_steps + 1, every))
    assert _steps(workdir, "final") == [num_steps]
    assert _steps(workdir, "train") == list(range(num_steps))
    assert (workdir / "train_complete.txt").exists()

    # Longer, with the evaluator there first: the old end does not end it.
    end = num_steps + 2 * every
    longer = f"--cfg.num_train_steps={end}"
    evaluator = start(longer, names)
    _wait_for(lambda: "waiting for it to be continued" in _log(workdir), [evaluator])
    training = start(longer)
    assert training.wait(timeout=120) == 0, _log(workdir)
    assert evaluator.wait(timeout=120) == 0, _log(workdir)
    assert _steps(workdir, "test") == list(range(0, end + 1, every))
    assert _steps(workdir, "final") == [num_steps, end]


@pytest.mark.slow
def test_the_exit_code_tells_what_happened(tmp_path):
    workdir = tmp_path / "run"
    assert _start(workdir, "--eval_names=tset").wait() == 2
    assert "Did you mean 'test'?" in _log(workdir)
    assert _start(workdir, "--eval_names=test", "--eval_timeout=0.1").wait() == 1
    assert "Gave up after 0.1 s" in _log(workdir)
    assert _start(workdir, "--cfg.num_train_steps=2").wait() == 0
    # One has a dataset that never ends; the other is right.
    endless = "--cfg.evals.train_subset.num_batches=None"
    names = "--eval_names=train_subset,test"
    assert _start(workdir, "--cfg.num_train_steps=2", endless, names).wait() == 1
    assert "never ends" in _log(workdir)
    assert _steps(workdir, "test") == [0, 2]
