"""Trials in warm workers, against a process for each trial; both two at a time.

make bench

`BENCH_SWEEP_TRIALS` says how many trials there are, 6 unless given.
"""

from __future__ import annotations

import os

import pytest

from kauldron import launch
from tests.benchmarks import clocks
from tests.benchmarks import figures as figures_lib

pytestmark = pytest.mark.bench

NUM_TRIALS = int(os.environ.get("BENCH_SWEEP_TRIALS", "6"))
SHORT = ("--cfg.num_train_steps=200",)


def _run(folder, trials, *, warm):
    sweep = launch.Sweep(
        cfg="examples/digits_classifier.py",
        workdir=str(folder),
        trials=trials,
        flags=SHORT,
    )
    overview = launch.run_sweep(sweep, launch.Local(parallel=2, warm=warm))
    assert overview.exit_code == 0, overview


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("varied", "is_compiled"),
    [("seed", False), ("seed", True), ("learning_rate", False)],
)
def test_trials_in_warm_workers(tmp_path, figures, monkeypatch, varied, is_compiled):
    """`is_compiled`: whether all programs are on disk, as when a sweep is repeated."""
    values = range(1, NUM_TRIALS + 1)
    if varied == "seed":
        trials = [{"seed": i} for i in values]
    else:
        path = "schedules.learning_rate.init_value"
        trials = [{path: i * 1e-3} for i in values]
    monkeypatch.setenv("KAULDRON_COMPILATION_CACHE", "1")
    if is_compiled:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        _run(tmp_path / "filled", trials, warm=True)
    secs = {}
    for kind in ("fresh", "warm"):
        if not is_compiled:
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache_{kind}"))
        folder, is_warm = tmp_path / kind, kind == "warm"
        secs[kind] = clocks.measured(
            lambda folder=folder, is_warm=is_warm: _run(folder, trials, warm=is_warm)
        )[1]
    programs = "on disk" if is_compiled else "not on disk"
    # By the clock: warm workers end later, and their processor time with them.
    figures.number(
        f"sweep of {NUM_TRIALS} trials of 200 steps that vary {varied}, programs "
        f"{programs}, in two warm workers: speed",
        [secs["fresh"].wall / secs["warm"].wall],
        figures_lib.TIMES,
        against=f"that of a process each, two at a time ({secs['fresh'].wall:.0f} s)",
        budget=3.0,
        is_more_better=True,
    )
