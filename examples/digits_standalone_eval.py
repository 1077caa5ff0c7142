"""Evaluation beside the training, each in a process of its own.

Start the three commands in any order; each can be stopped and started again:

    kauldron train --cfg=examples/digits_standalone_eval.py --cfg.workdir=runs/digits
    kauldron train --cfg=examples/digits_standalone_eval.py --cfg.workdir=runs/digits \\
        --eval_names=test,train_subset
    kauldron train --cfg=examples/digits_standalone_eval.py --cfg.workdir=runs/digits \\
        --eval_names=final
"""

from typing import Any

from examples import digits_classifier
from kauldron import konfig

with konfig.imports():
    from kauldron import kd


def get_config():
    cfg: Any = digits_classifier.get_config()
    cfg.checkpointer.max_to_keep = 5
    cfg.evals = {
        # These two share a process.
        "test": kd.evals.Evaluator(
            run=kd.evals.StandaloneEveryCheckpoint(job_group="along"),
        ),
        "train_subset": kd.evals.Evaluator(
            run=kd.evals.StandaloneEveryCheckpoint(job_group="along"),
            ds=cfg.ref.train_ds,
            num_batches=4,
            summaries={},
        ),
        # Once, at the end.
        "final": kd.evals.Evaluator(
            run=kd.evals.StandaloneLastCheckpoint(),
            discard_opt=True,
        ),
    }
    return cfg
