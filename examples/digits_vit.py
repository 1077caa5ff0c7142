"""A tiny vision transformer of handwritten digits, and a sweep over its size.

kauldron train --cfg=examples/digits_vit.py --cfg.workdir=runs/vit
kauldron config sweeps --cfg=examples/digits_vit.py
"""

from kauldron import konfig

with konfig.imports():
    import optax

    from examples import digits_data
    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42
    cfg.aux = {"num_layers": 3, "peak_learning_rate": 2e-3}

    cfg.train_ds = _make_ds(training=True)
    cfg.eval_ds = _make_ds(training=False)

    # 16 patches of 2 x 2 pixels. 'Ti/2' and so on are the published sizes.
    cfg.model = kd.nn.Vit(
        image="batch.image",
        encoder=kd.nn.VitEncoder.from_variant_str(
            "mu/2",
            hidden_size=48,
            num_heads=4,
            mlp_size=96,
            num_layers=cfg.ref.aux.num_layers,
        ),
        num_classes=10,
    )

    cfg.num_train_steps = 1000
    cfg.train_losses = {
        "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.label"
        ),
    }
    cfg.train_metrics = {
        "accuracy": kd.metrics.Accuracy(logits="preds.logits", labels="batch.label"),
    }

    # Follows `num_train_steps`, also when that is changed on the command line.
    cfg.schedules = {
        "learning_rate": optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=cfg.ref.aux.peak_learning_rate,
            warmup_steps=cfg.ref.num_train_steps // 10,
            decay_steps=cfg.ref.num_train_steps,
        ),
    }
    cfg.optimizer = optax.adam(learning_rate=cfg.ref.schedules["learning_rate"])

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=500)
    cfg.evals = {"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(250))}
    return cfg


def _make_ds(training: bool):
    return kd.data.py.DataSource(
        data_source=digits_data.Digits(split="train" if training else "test"),
        shuffle=training,
        num_epochs=None if training else 1,
        batch_size=64,
        transforms=[
            kd.data.Elements(keep=["image", "label"]),
            kd.data.ValueRange(key="image", in_vrange=(0, 16), vrange=(-1, 1)),
            kd.data.Cast(key="label", dtype="int32"),
            kd.data.Rearrange(key="label", pattern="... -> ... 1"),
        ],
    )


def sweep():
    for num_layers in (1, 3, 6):
        yield {"aux.num_layers": num_layers}
