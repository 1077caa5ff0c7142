"""Trials in warm workers, against a process for each trial; both two at a time.

make bench

`BENCH_SWEEP_TRIALS` says how many trials there are, 6 unless given.
"""

from __future__ import annotations

import os
import time

import pytest

from kauldron import launch

pytestmark = pytest.mark.bench

NUM_TRIALS = int(os.environ.get("BENCH_SWEEP_TRIALS", "6"))
SHORT = ("--cfg.num_train_steps=200",)


def _secs(folder, trials, *, warm):
    sweep = launch.Sweep(
        cfg="examples/digits_classifier.py",
        workdir=str(folder),
        trials=trials,
        flags=SHORT,
    )
    start = time.perf_counter()
    overview = launch.run_sweep(sweep, launch.Local(parallel=2, warm=warm))
    assert overview.exit_code == 0, overview
    return time.perf_counter() - start


@pytest.mark.parametrize(
    ("varied", "is_compiled"),
    [("seed", False), ("seed", True), ("learning_rate", False)],
)
def test_trials_in_warm_workers(tmp_path, monkeypatch, varied, is_compiled):
    """`is_compiled`: whether all programs are on disk, as when a sweep is repeated."""
    values = range(1, NUM_TRIALS + 1)
    if varied == "seed":
        trials = [{"seed": i} for i in values]
    else:
        path = "schedules.learning_rate.init_value"
        trials = [{path: i * 1e-3} for i in values]
    secs = {}
    for kind in ("filled", "fresh", "warm"):
        if kind == "filled" and not is_compiled:
            continue
        cache = tmp_path / (f"cache_{kind}" if not is_compiled else "cache")
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        is_warm = kind != "fresh"
        secs[kind] = _secs(tmp_path / kind, trials, warm=is_warm)
    ratio = secs["fresh"] / secs["warm"]
    programs = "on disk" if is_compiled else "not on disk"
    print(
        f"\n{NUM_TRIALS} trials that vary {varied}, programs {programs}: a process each "
        f"{secs['fresh']:.1f} s, warm workers {secs['warm']:.1f} s: {ratio:.2f} x faster "
        "(target 3)"
    )
