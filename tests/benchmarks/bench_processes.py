"""From the command to the end of the first step: four processes, against one.

make bench
"""

from __future__ import annotations

import os
import statistics
import time

import pytest

from tests.train import processes as processes_lib

pytestmark = pytest.mark.bench

NUM_PAIRS = 5
_FIRST_STEP = (
    "--cfg.stop_after_steps=1",
    "--cfg.checkpointer=None",
    "--cfg.evals=None",
)


def _measure(num_processes, folder):
    """Returns seconds until process 0 has shown the first step, and until all are done.

    Nothing is compiled yet: each has a cache of its own.
    """
    env = {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
    start = time.perf_counter()
    with processes_lib.train(
        folder / "run",
        num_processes,
        *_FIRST_STEP,
        num_devices=num_processes,
        env=env,
    ) as run:
        run.wait_until(lambda: "step 0" in run.log(0))
        first = time.perf_counter() - start
        run.finish()
    return first, time.perf_counter() - start


def test_start_of_four_processes_to_the_first_step(tmp_path):
    rows = []
    for i in range(NUM_PAIRS):
        secs = []
        for num_processes in (1, 4):
            folder = tmp_path / f"{num_processes}_{i}"
            folder.mkdir()
            secs.append(_measure(num_processes, folder))
        one, four = secs
        rows.append((four[0] / one[0], four[1] / one[1], one[0], four[0]))
    ratios = [row[0] for row in rows]
    ratio, whole, one, four = map(statistics.median, zip(*rows, strict=True))
    print(
        f"\ncommand to first step: 1 process {one:.2f} s, 4 processes {four:.2f} s: "
        f"{ratio:.2f} ({min(ratios):.2f}..{max(ratios):.2f}; target 2 on two cores), "
        f"to the end {whole:.2f}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
