"""What a trained autoencoder knows about digits: a linear readout of its code.

    kauldron train --cfg=examples/digits_autoencoder.py --cfg.workdir=runs/autoencoder
    kauldron train --cfg=examples/digits_readout.py --cfg.aux.source=runs/autoencoder \\
        --cfg.workdir=runs/readout

The autoencoder stays as it is: the head's gradient stops before it, and the optimizer
changes the head alone.
"""

from examples import digits_autoencoder, digits_classifier
from kauldron import konfig

with konfig.imports():
    import optax
    from flax import linen as nn

    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42
    cfg.aux = {"source": konfig.placeholder(str)}

    cfg.train_ds = digits_classifier.make_ds(training=True)
    cfg.eval_ds = digits_classifier.make_ds(training=False)

    cfg.model = kd.contrib.nn.ReadoutWrapper(
        model=digits_autoencoder.get_config().model,
        readout_heads={"digit": nn.Dense(10)},
        readout_inputs={"digit": "interms.encoder.__call__[0]"},
    )
    cfg.init_transform = kd.ckpts.PartialKauldronLoader(
        workdir=cfg.ref.aux.source, new_to_old={"params.model": "params"}
    )

    cfg.num_train_steps = 300
    cfg.train_losses = {
        "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.readouts.digit", labels="batch.label"
        ),
    }
    cfg.train_metrics = {
        "accuracy": kd.metrics.Accuracy(
            logits="preds.readouts.digit", labels="batch.label"
        ),
    }
    cfg.optimizer = kd.optim.partial_updates(
        optax.adam(learning_rate=3e-2), mask=kd.optim.select("readout_heads_digit")
    )
    cfg.evals = {"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(100))}
    return cfg
