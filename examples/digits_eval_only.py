"""Measures a finished run anew: other data, other metrics, no training.

    kauldron train --cfg=examples/digits_classifier.py --cfg.workdir=runs/digits
    kauldron train --cfg=examples/digits_eval_only.py --cfg.aux.workdir=runs/digits \\
        --cfg.workdir=runs/digits_eval

Model and parameters are those of the run; its config is read, not guessed.
"""

from examples import digits_classifier
from kauldron import konfig

with konfig.imports():
    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer.eval_only()
    cfg.aux.workdir = konfig.placeholder(str)
    cfg.aux.trusted = ["examples"]
    cfg.evals = {
        f"{split}_digits": kd.evals.Evaluator(
            run=kd.evals.StandaloneLastCheckpoint(),
            ds=digits_classifier.make_ds(training=False, split=split),
            losses={
                "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
                    logits="preds.logits", labels="batch.label"
                ),
            },
            metrics={
                "top1": kd.metrics.Accuracy(
                    logits="preds.logits", labels="batch.label"
                ),
                "top3": kd.metrics.TopKAccuracy(
                    logits="preds.logits", labels="batch.label", k=3
                ),
            },
            summaries={},
        )
        for split in ("train", "test")
    }
    return cfg
