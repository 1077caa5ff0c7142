"""A run that MLflow tracks, as a process: `python -m ... WORKDIR URI STEP SIGNAL`.

At a step, it sends itself a signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from kauldron import kd
from tests.train import small_run

NUM_STEPS = 10


class Sends(kd.train.Hook):
    """Sends this process a signal, when what was measured before has been told."""

    def __init__(self, step, number):
        self.step, self.number = step, number

    def before_step(self, run, *, step, state, batch):
        if step == self.step:
            file = run.trainer.workdir / "trackers" / "tracking.json"
            for _ in range(600):
                known = json.loads(file.read_text()) if file.exists() else {"steps": {}}
                if known["steps"].get("train", -1) >= step - 2:
                    break
                time.sleep(0.1)
            os.kill(os.getpid(), self.number)
            time.sleep(0.1)


def make_trainer(workdir, uri, **changes):
    kwargs = {
        "tracking": kd.tracking.MLflow(uri=uri, experiment="runs"),
        "num_train_steps": NUM_STEPS,
        "log_metrics_every": 1,
        "checkpointer": kd.ckpts.Checkpointer(save_interval_steps=4),
        "evals": {"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(5))},
    }
    return small_run.make_trainer(workdir, **{**kwargs, **changes})


if __name__ == "__main__":
    _, workdir, uri, step, name = sys.argv
    sends = Sends(int(step), signal.Signals[name])
    make_trainer(workdir, uri, hooks={"sends": sends}).train()
