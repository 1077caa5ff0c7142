"""From the command to the end of the first step: four processes, against one.

make bench
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys

import pytest

from tests import devices
from tests.benchmarks import clocks, processes_of_steps
from tests.train import processes as processes_lib

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

NUM_ROUNDS = clocks.rounds(7)
_FIRST_STEP = (
    f"--cfg={processes_lib.CONFIG}",
    "--cfg.stop_after_steps=1",
    "--cfg.checkpointer=None",
    "--cfg.evals=None",
)
_ONE = ("-m", "kauldron.main")
_FOUR = ("-m", "kauldron.cli.main", "launch", "--on=local", "--processes=4")
_PR_SET_CHILD_SUBREAPER = 36


def _start(command, folder, env=()):
    """Returns seconds until all are done; wall: until the first step has been shown.

    Folders that are new have a cache of their own, in which nothing is compiled yet.
    """
    folder.mkdir(exist_ok=True)
    run_folder = folder / f"run_{len(list(folder.iterdir()))}"
    variables = {
        **processes_of_steps.environment(),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONPATH": str(processes_lib.ROOT),
        "PYTHONUNBUFFERED": "1",
        "XLA_FLAGS": devices.xla_flags(1),
        **dict(env),
    }
    # What a launch has started outlives it, and becomes ours.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    start, first, lines = clocks.now(), None, []
    process = subprocess.Popen(
        [sys.executable, *command, *_FIRST_STEP, f"--cfg.workdir={run_folder}"],
        env=variables,
        cwd=processes_lib.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in process.stdout:
        lines.append(line)
        if "step 0" in line:
            first = clocks.since(start).wall
    assert process.wait() == 0 and first, "".join(lines)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    return clocks.Secs(first, clocks.since(start).processor)


def test_start_of_four_processes_to_the_first_step(figures, tmp_path):
    new = iter(range(10**6))
    secs = clocks.in_turn(
        {
            "one": lambda: _start(_ONE, tmp_path / f"one_{next(new)}"),
            "four": lambda: _start(_FOUR, tmp_path / f"four_{next(new)}"),
            "four, compiled before": lambda: _start(_FOUR, tmp_path / "filled"),
            "four that import each for itself": lambda: _start(
                _FOUR,
                tmp_path / f"apart_{next(new)}",
                {"KAULDRON_SHARED_IMPORTS": "0"},
            ),
        },
        NUM_ROUNDS,
    )
    one_secs = clocks.medians(secs["one"]).wall
    against = f"one process that compiles ({one_secs:.2g} s)"
    for name in list(secs)[1:]:
        figures.ratio(
            f"command to first step on two cores, processes: {name}",
            secs[name],
            secs["one"],
            against=against,
            budget=None if "itself" in name else 2.0,
        )
