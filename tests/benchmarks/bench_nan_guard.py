"""What a `NanGuard` costs per step, against the same run without one.

make bench
"""

from __future__ import annotations

import pytest

from kauldron import kd
from tests.benchmarks import clocks, loops, small_models

pytestmark = pytest.mark.bench

NUM_STEPS = 60


@pytest.mark.parametrize(
    ("name", "model", "batch_size"),
    [
        ("convolutions", small_models.Convolutions(), 64),
        ("transformer", small_models.Transformer(), 64),
        ("five layers of 512, batch of 256", small_models.WIDE, 256),
        ("five layers of 512, batch of 64", small_models.WIDE, 64),
    ],
)
def test_guard_overhead(tmp_path, figures, name, model, batch_size):
    guards = {"without": None, "with": kd.train.NanGuard()}
    runs = {
        key: loops.our_run(
            tmp_path, small_models.points(batch_size), model=model, nan_guard=guard
        )
        for key, guard in guards.items()
    }
    secs = clocks.in_turn({k: lambda run=r: run(NUM_STEPS) for k, r in runs.items()})
    plain_ms = clocks.medians(secs["without"]).wall * 1e3
    figures.ratio(
        f"`NanGuard`, {name}",
        secs["with"],
        secs["without"],
        against=f"without ({plain_ms:.2g} ms a step)",
        budget=1.01,
    )
