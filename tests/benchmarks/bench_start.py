"""From the command to the end of the first step: processes of their own, in pairs.

make bench
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.bench

NUM_PAIRS = 7
RAW = ["-m", "tests.benchmarks.raw_digits"]
OURS = [
    *("-m", "kauldron.main", "--cfg=examples/digits_classifier.py"),
    *("--cfg.stop_after_steps=1", "--cfg.checkpointer=None", "--cfg.evals=None"),
]


def _measure(arguments, folder):
    """Returns seconds to the first step; processor time and peak memory of it all."""
    # Nothing is compiled yet, for either of them.
    env = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    start, secs, lines = time.perf_counter(), None, []
    process = subprocess.Popen(
        [sys.executable, "-u", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in process.stdout:
        lines.append(line)
        if line.startswith("step 0") and secs is None:
            secs = time.perf_counter() - start
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert not process.returncode and secs, "".join(lines)
    return secs, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def test_command_to_first_step_and_peak_memory(tmp_path):
    rows = []
    for i in range(NUM_PAIRS):
        folders = [tmp_path / f"{name}_{i}" for name in ("raw", "ours")]
        for folder in folders:
            folder.mkdir()
        raw = _measure(RAW, folders[0])
        ours = _measure([*OURS, f"--cfg.workdir={folders[1]}/run"], folders[1])
        rows.append([b / a for a, b in zip(raw, ours, strict=True)] + [raw[0]])
    wall, cpu, memory, raw_secs = map(statistics.median, zip(*rows, strict=True))
    print(
        f"\ncommand to first step: raw {raw_secs:.2f} s; ours / raw = {wall:.2f} "
        f"({min(r[0] for r in rows):.2f}..{max(r[0] for r in rows):.2f}; budget 1.25), "
        f"processor time of all {cpu:.2f}, peak memory {memory:.2f} (budget 1.2)"
    )
