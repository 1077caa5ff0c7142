"""What the loop costs over the same maths written by hand, in one process.

make bench
"""

from __future__ import annotations

import io
import sys

import pytest

from kauldron import kd
from tests.benchmarks import clocks, loops, small_models

pytestmark = pytest.mark.bench


@pytest.mark.parametrize(
    ("name", "widths", "num_steps", "budget"),
    [
        ("one layer of 32", (32,), 3000, 1.05),
        ("two layers of 192", (192, 192), 1500, 1.05),
        ("three layers of 512", (512, 512, 512), 200, 1.01),
        ("four layers of 1024", (1024,) * 4, 60, 1.01),
    ],
)
def test_loop_overhead(tmp_path, figures, name, widths, num_steps, budget):
    model, batch = small_models.Mlp(widths=widths), small_models.points()
    others = {
        placing: loops.RawLoop(model, batch, placing=placing).run
        for placing in loops.PLACINGS
    }
    secs = loops.in_turn(tmp_path, batch, others, num_steps=num_steps, model=model)
    for placing, told in (
        ("device_put", "that places batches ahead by `jax.device_put`"),
        ("numpy", "that hands NumPy arrays to the step"),
    ):
        against = f"loop, {name}, against one {told}"
        raw = clocks.medians(secs[placing]).wall * 1e3
        figures.ratio(
            against,
            secs["ours"],
            secs[placing],
            against=f"the hand-written donated loop ({raw:.2g} ms a step)",
            budget=budget,
        )
        if num_steps < 1000:
            continue  # microseconds are lost in steps of milliseconds
        figures.number(
            f"{against}: processor time of all threads that a step has more",
            [
                (a.processor - b.processor) * 1e6
                for a, b in zip(secs["ours"], secs[placing], strict=True)
            ],
            "µs",
            budget=20,
        )


def test_what_a_logging_step_adds(tmp_path, figures):
    accuracy = kd.metrics.Accuracy(logits="preds.logits", labels="batch.label")
    metrics = {f"accuracy_{i}": accuracy for i in range(18)}  # and two losses
    runs = {
        every: loops.our_run(
            tmp_path / str(every),
            small_models.points(),
            train_metrics=metrics,
            log_metrics_every=every,
        )
        for every in (loops.NEVER, 10)
    }
    secs = clocks.in_turn({k: lambda run=run: run(2000) for k, run in runs.items()})
    pairs = list(zip(secs[10], secs[loops.NEVER], strict=True))
    figures.number(
        "a logging step with 20 scalars, every tenth of tiny steps, adds",
        [(a.wall - b.wall) * 10 * 1e3 for a, b in pairs],
        "ms",
        budget=0.5,
    )
    # What is done beside the steps costs processor time all the same.
    figures.number(
        "the same: processor time of all threads",
        [(a.processor - b.processor) * 10 * 1e3 for a, b in pairs],
        "ms",
    )


def test_what_the_live_display_costs(tmp_path, figures, monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    train = loops.our_run(tmp_path, small_models.points())

    def shown():
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", Screen())
            secs = train(2000)
            assert "steps/s" in sys.stderr.getvalue()
        return secs

    secs = clocks.in_turn({"with": shown, "without": lambda: train(2000)})
    figures.ratio(
        "loop with a live display", secs["with"], secs["without"], against="without"
    )
