"""A run that is killed in the midst of a rollout continues as if it had not been."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from kauldron import kd
from tests.rl import small_run

ROOT = pathlib.Path(__file__).parents[2]


def _run(workdir, *arguments):
    command = [sys.executable, "-m", "tests.rl.killed_run", str(workdir), *arguments]
    return subprocess.run(command, cwd=ROOT, timeout=900).returncode


def _learnt(workdir):
    trainer = small_run.make_trainer(workdir, num_train_steps=6)
    checkpointer = kd.ckpts.Checkpointer(workdir=workdir, save_interval_steps=1)
    return small_run.numbers(checkpointer.restore(trainer.state_specs, step=6))


@pytest.mark.slow
def test_a_run_killed_in_a_rollout_continues_with_the_same_bits(tmp_path):
    assert _run(tmp_path / "whole") == 0
    assert _run(tmp_path / "killed", "3") == -signal.SIGKILL
    assert _run(tmp_path / "killed") == 0
    pairs = zip(_learnt(tmp_path / "whole"), _learnt(tmp_path / "killed"), strict=True)
    for whole, killed in pairs:
        np.testing.assert_array_equal(whole, killed)
