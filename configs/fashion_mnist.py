"""Fashion-MNIST: a small convolutional network, test accuracy 0.91 in a few minutes.

kauldron data fetch fashion_mnist
kauldron train --cfg=configs/fashion_mnist.py --cfg.workdir=runs/fashion_mnist
"""

from kauldron import konfig

with konfig.imports():
    import pathlib

    import optax
    from flax import linen as nn

    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42
    cfg.aux = {"num_features": 32}

    cfg.train_ds = _make_ds(training=True)
    cfg.eval_ds = _make_ds(training=False)

    cfg.model = kd.nn.Sequential(
        inputs="batch.image",
        outputs="logits",
        layers=[
            nn.Conv(cfg.ref.aux.num_features, kernel_size=(5, 5), strides=(2, 2)),
            nn.relu,
            nn.Conv(cfg.ref.aux.num_features * 2, kernel_size=(3, 3), strides=(2, 2)),
            nn.relu,
            kd.nn.Rearrange("b h w c -> b (h w c)"),
            kd.nn.Dropout(0.3),
            nn.Dense(128),
            nn.relu,
            kd.nn.Dropout(0.3),
            nn.Dense(10),
        ],
    )

    cfg.num_train_steps = 5000  # 10.7 epochs
    cfg.train_losses = {
        "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.label"
        ),
    }
    cfg.train_metrics = {
        "accuracy": kd.metrics.Accuracy(logits="preds.logits", labels="batch.label"),
    }

    cfg.schedules = {
        "learning_rate": optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=2e-3,
            warmup_steps=200,
            decay_steps=cfg.ref.num_train_steps,
        ),
    }
    cfg.optimizer = optax.adamw(
        learning_rate=cfg.ref.schedules["learning_rate"], weight_decay=1e-3
    )

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=1000)
    cfg.evals = {
        "eval": kd.evals.Evaluator(
            run=kd.evals.EveryNSteps(1000),
            outputs=kd.evals.WriteOutputs(keys=["preds.logits", "batch.label"]),
        ),
    }
    cfg.log_metrics_every = 100
    return cfg


def _make_ds(training: bool):
    split = "train" if training else "test"
    transforms = [
        kd.data.ValueRange(key="image", in_vrange=(0, 255), vrange=(0, 1)),
        kd.data.Cast(key="label", dtype="int32"),
        kd.data.Rearrange(key="label", pattern="... -> ... 1"),
    ]
    if training:
        transforms.insert(0, kd.data.py.RandomFlipLeftRight(key="image"))
    return kd.data.py.NumpyArrays(
        path=pathlib.Path(kd.data.fetch("fashion_mnist"), f"{split}.npz"),
        shuffle=training,
        num_epochs=None if training else 1,
        batch_size=128 if training else 1000,
        transforms=transforms,
    )
