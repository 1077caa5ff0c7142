"""From the command to the end of the first step: four processes, against one.

make bench
"""

from __future__ import annotations

import pytest

from tests.benchmarks import clocks
from tests.train import processes as processes_lib

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1200)]

NUM_ROUNDS = 7
_FIRST_STEP = (
    "--cfg.stop_after_steps=1",
    "--cfg.checkpointer=None",
    "--cfg.evals=None",
)


def _start(num_processes, folder):
    """Returns seconds until all are done; wall: until process 0 has shown the first step.

    Folders that are new have a cache of their own, in which nothing is compiled yet.
    """
    folder.mkdir(exist_ok=True)
    run_folder = folder / f"run_{len(list(folder.iterdir()))}"
    env = {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONUNBUFFERED": "1",
        "KAULDRON_COMPILATION_CACHE": "1",
    }
    start = clocks.now()
    with processes_lib.train(
        run_folder, num_processes, *_FIRST_STEP, num_devices=num_processes, env=env
    ) as run:
        run.wait_until(lambda: "step 0" in run.log(0))
        first = clocks.since(start).wall
        run.finish()
    return clocks.Secs(first, clocks.since(start).processor)


def test_start_of_four_processes_to_the_first_step(figures, tmp_path):
    new = iter(range(10**6))
    secs = clocks.in_turn(
        {
            "one": lambda: _start(1, tmp_path / f"one_{next(new)}"),
            "four": lambda: _start(4, tmp_path / f"four_{next(new)}"),
            "four, compiled before": lambda: _start(4, tmp_path / "filled"),
        },
        NUM_ROUNDS,
    )
    one_secs = clocks.spread(x.wall for x in secs["one"]).median
    against = f"one process that compiles ({one_secs:.2g} s)"
    for name in ("four", "four, compiled before"):
        figures.ratio(
            f"command to first step on two cores, processes: {name}",
            secs[name],
            secs["one"],
            against=against,
            budget=2.0,
        )
