"""Studies of real processes, killed at any instant: no trial is lost or counted twice."""

from __future__ import annotations

import os
import pathlib
import random
import signal
import subprocess
import sys

import pytest

from kauldron import kd
from tests.launch import backend_contract, fake_runs

_NUM_TRIALS = 6
_NUM_STEPS = 15
_NUM_KILLS = 8


def _write_config(folder: pathlib.Path) -> str:
    """Writes the config of runs that are no training, with what a study needs."""
    path = pathlib.Path(fake_runs.write(folder))
    text = path.read_text()
    fields = '"seed": 0, "evals": {"eval": {}}, "hooks": {"none": None},'
    path.write_text(text.replace('"seed": 0,', fields))
    return str(path)


def _start(cfg: str, folder: pathlib.Path) -> subprocess.Popen[bytes]:
    env = {
        **os.environ,
        "PYTHONPATH": str(backend_contract.ROOT),
        "JAX_PLATFORMS": "cpu",
    }
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "kauldron.cli.main", "tune"),
            *(f"--cfg={cfg}", f"--workdir={folder}", "--parallel=2"),
            *("--space=aux.width=int(1,1000)", "--metric=eval.accuracy"),
            *(f"--trials={_NUM_TRIALS}", f"--cfg.aux.num_steps={_NUM_STEPS}"),
            "--cfg.aux.step_secs=0.1",
        ],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_instant_no_trial_is_lost_or_counted_twice(tmp_path, seed):
    rng = random.Random(seed)
    cfg, folder = _write_config(tmp_path), tmp_path / "study"
    for _ in range(_NUM_KILLS):
        study = _start(cfg, folder)
        try:
            study.wait(timeout=rng.uniform(0.5, 8))
            break  # everything is done
        except subprocess.TimeoutExpired:
            if rng.random() < 0.5:
                _kill_a_trial(folder)
            study.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
            study.communicate()
    # What was killed last is lost, and known to be at the second try.
    codes, told = [], b""
    for _ in range(2):
        study = _start(cfg, folder)
        told += study.communicate()[1]
        codes.append(study.returncode)
    assert codes[-1] == 0, told
    trials = _trials_of(folder)
    assert [trial.state for trial in trials] == ["done"] * _NUM_TRIALS
    assert len({trial.key for trial in trials}) == _NUM_TRIALS
    folders = {path.parent.name for path in folder.glob("*/steps.txt")}
    assert folders == {trial.name for trial in trials}
    for trial in trials:
        # Each step once and in order: no two processes were ever at it.
        workdir = pathlib.Path(trial.workdir)
        assert fake_runs.steps_of(workdir) == list(range(_NUM_STEPS))
        # Of the run: width / 10 + step / 100.
        width = int(trial.overrides["aux.width"])
        assert trial.best == pytest.approx(width / 10 + (_NUM_STEPS - 1) / 100)
    assert (folder / "best_config.py").exists()


def _trials_of(folder: pathlib.Path):
    return kd.tracking.tune.read_study(str(folder)).trials


def _kill_a_trial(folder: pathlib.Path) -> None:
    for path in folder.glob("*/starts.txt"):
        if not path.read_text().strip():
            continue
        pid = fake_runs.pids_of(path.parent)[-1]
        command = pathlib.Path(f"/proc/{pid}/cmdline")
        if command.exists() and b"kauldron.cli.worker" in command.read_bytes():
            os.kill(pid, signal.SIGKILL)
            return
