"""A minute of benchmarks that fails if something has become twice as slow.

python -m tests.benchmarks.quick            # make bench-quick
python -m tests.benchmarks.quick --record   # make bench-record
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import io
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp

from kauldron import kd, konfig
from tests.benchmarks import (
    bench_evals,
    bench_konfig,
    clocks,
    loops,
    regressions,
    small_models,
)

RECORDED = pathlib.Path(__file__).with_name("quick.json")
_ACCURACY = kd.metrics.Accuracy(logits="preds.logits", labels="batch.label")
_METRICS = {f"accuracy_{i}": _ACCURACY for i in range(18)}


def _of_calls(
    ours: Callable[[], Any], theirs: Callable[[], Any], *, num_rounds: int = 7
) -> clocks.Secs:
    runs = {"ours": clocks.timed(ours), "theirs": clocks.timed(theirs)}
    secs = clocks.in_turn(runs, num_rounds)
    return clocks.ratios(secs["ours"], secs["theirs"]).medians


def loop(**changes: Any) -> clocks.Secs:
    """Tiny steps, over a loop written by hand."""
    batch = small_models.points()
    raw = loops.RawLoop(small_models.Mlp(), batch, placing="numpy")
    with tempfile.TemporaryDirectory() as folder:
        secs = loops.in_turn(folder, batch, {"raw": raw.run}, num_steps=400, **changes)
    return clocks.ratios(secs["ours"], secs["raw"]).medians


def evaluation() -> clocks.Secs:
    """Tiny batches, over a jitted loop that keeps its sums on the device."""
    model, ds = bench_evals.Mlp(width=16), bench_evals.Repeat(200)
    with tempfile.TemporaryDirectory() as folder:
        ours, params = bench_evals.make_ours(model, ds, folder)
        return _of_calls(ours, bench_evals.make_raw(model, params, ds))


def tracing() -> clocks.Secs:
    """A step with metrics, over the same step with its loss alone, written by hand."""
    batch = small_models.points()
    model, optimizer = small_models.Transformer(), optax.adam(1e-3)
    trainer = loops.make_trainer(
        "unused", batch, model=model, train_metrics={"accuracy": _ACCURACY}
    )
    state = trainer.state_specs

    def ours() -> None:
        step = dataclasses.replace(trainer.trainstep)  # JAX keeps what it has traced
        jax.eval_shape(
            lambda *a: step.step(*a, return_losses=True, return_metrics=True),
            state,
            batch,
        )

    def theirs() -> None:
        step = loops.plain_step(model, optimizer)
        jax.eval_shape(step, (state.params, state.opt_state, state.step), batch)

    return _of_calls(ours, theirs)


def resolving() -> clocks.Secs:
    """A config of 2,000 nodes, over a copy of the same as plain dictionaries."""
    cfg = bench_konfig.build(2_000)
    plain = json.loads(cfg.to_json())
    return _of_calls(lambda: konfig.resolve(cfg), lambda: copy.deepcopy(plain))


def looking_up() -> clocks.Secs:
    """A path of three keys, over the same by hand."""
    tree = {"a": {"b": {"c": 1}}}

    def ours() -> None:
        for _ in range(5_000):
            kd.kontext.get_by_path(tree, "a.b.c")

    def theirs() -> None:
        for _ in range(50_000):
            _ = tree["a"]["b"]["c"]

    return _of_calls(ours, theirs)


def records() -> clocks.Secs:
    """Batches of records with a transform, over a loop of Python."""
    images = np.zeros((2048, 28, 28, 1), np.uint8)
    ds = kd.data.py.DataSource(
        {"image": images},
        shuffle=True,
        batch_size=64,
        seed=0,
        transforms=[kd.data.ValueRange(key="image", vrange=(0, 1))],
    )

    def ours() -> None:
        with iter(ds) as batches:
            for _ in range(60):
                next(batches)

    def theirs() -> None:
        order = np.random.default_rng(0).permutation(len(images))
        for i in range(60):
            rows = [order[(64 * i + k) % len(images)] for k in range(64)]
            np.stack([images[row].astype(np.float32) / 255 for row in rows])

    return _of_calls(ours, theirs)


def saving() -> clocks.Secs:
    """The time for which a save of 16 MB keeps the loop, over Orbax itself."""
    state = {f"w{i}": jax.numpy.ones(1 << 18) for i in range(16)}
    with tempfile.TemporaryDirectory() as folder:
        options = ocp.CheckpointManagerOptions(max_to_keep=2)
        orbax = ocp.CheckpointManager(pathlib.Path(folder) / "orbax", options=options)
        checkpointer = kd.ckpts.Checkpointer(
            workdir=f"{folder}/ours", save_interval_steps=1, max_to_keep=2
        )
        steps = iter(range(10**6))

        def ours() -> clocks.Secs:
            start = clocks.now()
            checkpointer.save(state, step=next(steps))
            secs = clocks.since(start)
            checkpointer.wait_until_finished()
            return secs

        def theirs() -> clocks.Secs:
            start = clocks.now()
            args = ocp.args.Composite(state=ocp.args.StandardSave(state))
            orbax.save(next(steps), args=args)
            secs = clocks.since(start)
            orbax.wait_until_finished()
            return secs

        secs = clocks.in_turn({"ours": ours, "theirs": theirs}, num_warm_up=2)
        orbax.close()
    return clocks.ratios(secs["ours"], secs["theirs"]).medians


def _program(*arguments: str) -> Callable[[], Any]:
    command = [sys.executable, *arguments]
    return lambda: subprocess.run(command, check=True, capture_output=True)


def importing(ours: str, theirs: str, num_rounds: int) -> clocks.Secs:
    """A process that imports something, over one that imports something else."""
    return _of_calls(
        _program("-c", ours), _program("-c", theirs), num_rounds=num_rounds
    )


MEASURES: dict[str, regressions.Measure] = {
    "loop": loop,
    "logging": functools.partial(loop, train_metrics=_METRICS, log_metrics_every=10),
    "evaluation": evaluation,
    "tracing": tracing,
    "resolving": resolving,
    "looking up a key": looking_up,
    "records": records,
    "saving": saving,
    "help of the command": lambda: _of_calls(
        _program("-m", "kauldron.cli.main", "--help"), _program("-c", "import argparse")
    ),
    "import of konfig": functools.partial(
        importing, "from kauldron import konfig, kontext", "import ml_collections", 7
    ),
    "import of Trainer": functools.partial(
        importing,
        "from kauldron import kd; kd.train.Trainer",
        "import jax, flax.linen, optax, orbax.checkpoint, grain",
        3,
    ),
}


def _quiet(measure: regressions.Measure) -> regressions.Measure:
    """Without what the runs print."""

    def run() -> clocks.Secs:
        with contextlib.redirect_stderr(io.StringIO()):
            return measure()

    return run


def record(measures: dict[str, regressions.Measure]) -> dict[str, dict[str, float]]:
    """Measures all three times; returns the medians."""
    found = {}
    for name, measure in measures.items():
        tries = [measure() for _ in range(3)]
        medians = map(statistics.median, zip(*tries, strict=True))
        found[name] = clocks.Secs(*(round(x, 2) for x in medians))._asdict()
        print(f"{name:28} {found[name]}", flush=True)
    return found


def main(arguments: Sequence[str]) -> int:
    """Compares, or records; returns the exit code."""
    chosen = [x for x in arguments if x != "--record"]
    measures = {k: _quiet(v) for k, v in MEASURES.items() if not chosen or k in chosen}
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if "--record" in arguments:
        kept = {k: v for k, v in recorded.items() if k in MEASURES}
        found = {**kept, **record(measures)}
        RECORDED.write_text(json.dumps(found, indent=1) + "\n")
        return 0
    known = {k: v for k, v in recorded.items() if not chosen or k in chosen}
    start = clocks.now()
    failures = regressions.check(measures, known)
    print(f"{clocks.since(start).wall:.0f} s", *failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
