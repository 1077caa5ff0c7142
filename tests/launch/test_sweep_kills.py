"""Sweeps of real processes, killed with SIGKILL at any instant: nothing is lost or doubled."""

from __future__ import annotations

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from kauldron import launch
from tests.launch import backend_contract, fake_runs

_NUM_STEPS = 15
_WIDTHS = (1, 2, 3, 4, 5, 6)
_NUM_KILLS = 12


def _start(cfg: str, folder: pathlib.Path, *flags: str) -> subprocess.Popen[bytes]:
    env = {
        **os.environ,
        "PYTHONPATH": str(backend_contract.ROOT),
        "JAX_PLATFORMS": "cpu",
    }
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "kauldron.cli.main", "sweep"),
            *(f"--cfg={cfg}", f"--workdir={folder}", "--parallel=2", *flags),
        ],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def test_a_sweep_that_was_killed_waits_for_what_it_had_started(tmp_path):
    cfg, folder = fake_runs.write(tmp_path), tmp_path / "sweep"
    flags = ("--cfg.aux.width={1,2}", "--cfg.aux.waits=True")
    killed = _start(cfg, folder, *flags)
    for width in (1, 2):
        backend_contract.wait_for_file(folder / f"width={width}" / "steps.txt")
    killed.kill()
    killed.communicate()
    again = _start(cfg, folder, *flags)
    assert again.stderr is not None
    assert again.stderr.readline() == b"width=1: is running already\n"
    (folder / "go").touch()
    again.communicate()
    assert again.returncode == 0
    for width in (1, 2):
        assert fake_runs.first_steps_of(folder / f"width={width}") == [0]
        assert fake_runs.steps_of(folder / f"width={width}") == [0, 1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_or_done_twice_when_sweeps_and_workers_are_killed(
    tmp_path, seed
):
    rng = random.Random(seed)
    cfg, folder = fake_runs.write(tmp_path), tmp_path / "sweep"
    flags = (
        f"--cfg.aux.width={{{','.join(map(str, _WIDTHS))}}}",
        f"--cfg.aux.num_steps={_NUM_STEPS}",
        "--cfg.aux.step_secs=0.1",
    )
    for _ in range(_NUM_KILLS):
        sweep = _start(cfg, folder, *flags)
        try:
            sweep.wait(timeout=rng.uniform(0.3, 5))
            break  # everything is done
        except subprocess.TimeoutExpired:
            if rng.random() < 0.5:
                _kill_one_run(folder, rng)
            sweep.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
            sweep.communicate()
    # What was killed last is lost, and known to be at the second try.
    codes = [_finish(cfg, folder, *flags) for _ in range(2)]
    assert codes[-1] == 0, codes
    overview = launch.read_sweep(str(folder))
    assert {t.state for t in overview.trials} == {launch.TrialState.DONE}
    for trial in overview.trials:
        workdir = pathlib.Path(trial.workdir)
        # Each step once and in order: no two processes were ever at it.
        assert fake_runs.steps_of(workdir) == list(range(_NUM_STEPS))
        firsts = fake_runs.first_steps_of(workdir)
        assert firsts == sorted(firsts)
        assert _NUM_STEPS not in firsts
        assert "Another process" not in pathlib.Path(trial.log).read_text()


def _finish(cfg: str, folder: pathlib.Path, *flags: str) -> int:
    sweep = _start(cfg, folder, *flags)
    sweep.communicate()
    return sweep.returncode


def _kill_one_run(folder: pathlib.Path, rng: random.Random) -> None:
    time.sleep(rng.uniform(0, 0.5))
    pids = [
        fake_runs.pids_of(p.parent)[-1]
        for p in folder.glob("*/starts.txt")
        if p.read_text().strip()
    ]
    for pid in pids:
        command = pathlib.Path(f"/proc/{pid}/cmdline")
        if command.exists() and b"kauldron.cli.worker" in command.read_bytes():
            os.kill(pid, signal.SIGKILL)
            return
