"""Two real processes on one machine train as one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.train import processes as processes_lib

_PROGRAM = """
import sys
import jax
workdir, num_processes, index, port = sys.argv[1], *map(int, sys.argv[2:])
if num_processes > 1:
    jax.distributed.initialize(
        f"localhost:{port}", num_processes=num_processes, process_id=index
    )
import numpy as np
from tests.train import small_run
from kauldron import kd
trainer = small_run.make_trainer(
    workdir,
    # 43 = 2 * 16 + 11: the rest divides neither over devices nor over processes.
    eval_ds=small_run.make_ds(training=False, data_source=small_run.Points(43)),
    num_train_steps=9,
    checkpointer=kd.ckpts.Checkpointer(save_interval_steps=4),
    evals={"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(4))},
)
state, _ = trainer.train()
if index == 0:
    np.savez(f"{workdir}/params.npz", *jax.tree.leaves(jax.device_get(state.params)))
"""


def _train(workdir, num_processes):
    with processes_lib.start(_PROGRAM, workdir, num_processes) as processes:
        processes.finish()
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    params = np.load(workdir / "params.npz")
    return [json.loads(line) for line in lines], [params[k] for k in params.files]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_processes_train_and_evaluate_as_one_does(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for workdir in (one, two):
        workdir.mkdir()
    records, params = _train(one, 1)
    records_two, params_two = _train(two, 2)
    assert len(records) == len(records_two)
    for a, b in zip(records, records_two, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            if name == "collection":
                assert a[name] == b[name]
            else:  # sums over devices may be added in another order
                assert a[name] == pytest.approx(b[name], rel=1e-4)
    for a, b in zip(params, params_two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


_STOPPED = """
import os, signal, sys, time
import jax
workdir, num_processes, index, port, how = sys.argv[1:]
jax.distributed.initialize(
    f"localhost:{port}", num_processes=int(num_processes), process_id=int(index)
)
from tests.train import small_run
from kauldron import kd

class Ask(kd.train.Hook):
    def before_step(self, run, *, step, state, batch):
        time.sleep(0.01)
        if step == 20 and int(index) == 1:
            if how == "signal":
                signal.raise_signal(signal.SIGUSR1)
            else:
                open(f"{workdir}/STOP", "w").close()

trainer = small_run.make_trainer(
    workdir,
    num_train_steps=100_000,
    log_metrics_every=10_000,
    checkpointer=kd.ckpts.Checkpointer(save_interval_steps=100_000),
    hooks={"ask": Ask()},
)
try:
    trainer.train()
except kd.train.TrainingInterrupted as e:
    print("INTERRUPTED", e.saved, str(e).split(" of ")[0], flush=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("how", "reasons"),
    [
        # Only the second process is asked; the first one follows.
        ("signal", ["another process", "SIGUSR1"]),
        # Any process may be on another machine: only the first one looks for the file.
        ("file", ["{workdir}/STOP", "another process"]),
    ],
)
def test_all_processes_save_and_stop_at_the_same_step(tmp_path, how, reasons):
    with processes_lib.start(_STOPPED, tmp_path / "run", 2, how) as processes:
        outputs = processes.finish()
    steps = []
    for output, reason in zip(outputs, reasons, strict=True):
        [line] = [s for s in output.splitlines() if s.startswith("INTERRUPTED")]
        start, _, step = line.rpartition(" ")
        expected = reason.format(workdir=tmp_path / "run")
        assert start == f"INTERRUPTED True Stopped by {expected} at step"
        steps.append(int(step))
    assert steps[0] == steps[1]
    saved = [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()]
    assert f"ckpt_{steps[0]}" in saved
