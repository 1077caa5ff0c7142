"""A small convolutional network that reads handwritten digits.

Reaches a held-out accuracy of about 0.98 (logistic regression: 0.967) in a few seconds of
training on two CPU cores:

    kauldron train --cfg=examples/digits_classifier.py --cfg.workdir=runs/digits
"""

from kauldron import konfig

with konfig.imports():
    import optax
    from flax import linen as nn

    from examples import digits_data
    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42
    cfg.aux = {"num_features": 32}

    cfg.train_ds = make_ds(training=True)
    cfg.eval_ds = make_ds(training=False)

    cfg.model = kd.nn.Sequential(
        inputs="batch.image",
        outputs="logits",
        layers=[
            nn.Conv(cfg.ref.aux.num_features, kernel_size=(3, 3)),
            nn.relu,
            nn.Conv(cfg.ref.aux.num_features * 2, kernel_size=(3, 3), strides=(2, 2)),
            nn.relu,
            kd.nn.Rearrange("b h w c -> b (h w c)"),
            kd.nn.Dropout(0.5),
            nn.Dense(10),
        ],
    )

    cfg.num_train_steps = 600
    cfg.train_losses = {
        "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits",
            labels="batch.label",
        ),
    }
    cfg.train_metrics = {
        "accuracy": kd.metrics.Accuracy(logits="preds.logits", labels="batch.label"),
    }
    cfg.train_summaries = {
        "image": kd.summaries.ShowImages(images="batch.image", num_images=5),
    }

    cfg.schedules = {
        "learning_rate": optax.cosine_decay_schedule(
            init_value=2e-3, decay_steps=cfg.ref.num_train_steps
        ),
    }
    cfg.optimizer = optax.adam(learning_rate=cfg.ref.schedules["learning_rate"])

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=200)
    cfg.evals = {
        "eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(200)),
    }
    cfg.log_metrics_every = 50
    cfg.log_summaries_every = 200
    return cfg


def make_ds(training: bool, split: str | None = None):
    split = split or ("train" if training else "test")
    return kd.data.py.DataSource(
        data_source=digits_data.Digits(split=split),
        shuffle=training,
        num_epochs=None if training else 1,
        batch_size=64,
        transforms=[
            kd.data.Elements(keep=["image", "label"]),
            kd.data.ValueRange(key="image", in_vrange=(0, 16), vrange=(0, 1)),
            kd.data.Cast(key="label", dtype="int32"),
            kd.data.Rearrange(key="label", pattern="... -> ... 1"),
        ],
    )
