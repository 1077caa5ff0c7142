"""A run whose config names nothing that needs trust: data in a file, a small network."""

from kauldron import konfig

with konfig.imports():
    import optax
    from flax import linen as nn

    from kauldron import kd


def get_config(path="points.npz"):
    cfg = kd.train.Trainer()
    cfg.seed = 1
    cfg.train_ds = _make_ds(path, training=True)
    cfg.eval_ds = _make_ds(path, training=False)
    cfg.model = kd.nn.Sequential(
        inputs="batch.x",
        outputs="logits",
        layers=[nn.Dense(8), nn.relu, kd.nn.Dropout(0.5), nn.Dense(2)],
    )
    cfg.num_train_steps = 6
    cfg.train_losses = {
        "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.label"
        )
    }
    cfg.train_metrics = {
        "accuracy": kd.metrics.Accuracy(logits="preds.logits", labels="batch.label")
    }
    cfg.optimizer = kd.optim.named_chain(
        sgd=optax.sgd(0.5), ema=kd.optim.ema_params(decay=0.5)
    )
    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=3)
    outputs = kd.evals.WriteOutputs(keys=["preds.logits"])
    cfg.evals = {
        "test": kd.evals.Evaluator(run=kd.evals.EveryNSteps(3), outputs=outputs),
        "ema": kd.evals.Evaluator(
            run=kd.evals.Final(),
            outputs=outputs,
            init_transform=kd.optim.UseEmaParams(),
        ),
    }
    return cfg


def _make_ds(path, training):
    return kd.data.py.NumpyArrays(
        path,
        shuffle=training,
        num_epochs=None if training else 1,
        batch_size=16,
        transforms=[
            kd.data.Elements(keep=["label"], rename={"pixels": "x"}),
            kd.data.ValueRange(key="x", in_vrange=(0, 255), vrange=(0, 1)),
            kd.data.Rearrange(key="x", pattern="h w c -> (h w c)"),
            kd.data.Cast(key="label", dtype="int32"),
            kd.data.Rearrange(key="label", pattern="... -> ... 1"),
        ],
    )
