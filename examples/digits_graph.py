"""A reader of handwritten digits that also learns to draw what it has read: a graph.

    kauldron train --cfg=examples/digits_graph.py --cfg.workdir=runs/graph
    kauldron run graph --cfg=examples/digits_graph.py --out=graph.svg

The model is written as named parts, so that each can be changed from the command line
(`--cfg.model.nodes.code.module.features=16`). What goes through the bottleneck, `code`, is
read by two heads: `head` says which digit it is (0.96 of held-out ones, in a few seconds of
training on two CPU cores), and `decoder`, a part for training only, draws the image again.
TensorBoard shows the drawings under Images.
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

    cfg.train_ds = _make_ds(training=True)
    cfg.eval_ds = _make_ds(training=False)

    cfg.model = kd.nn.Graph(
        nodes={
            "conv": kd.nn.Node(
                nn.Conv(cfg.ref.aux.num_features, (3, 3), strides=(2, 2)),
                inputs="batch.image",
            ),
            "conv_relu": kd.nn.Node(nn.relu, inputs="conv"),
            "flat": kd.nn.Node(
                kd.nn.Rearrange("b h w c -> b (h w c)"), inputs="conv_relu"
            ),
            "code": kd.nn.Node(nn.Dense(32), inputs="flat"),
            "code_relu": kd.nn.Node(nn.relu, inputs="code"),
            "head": kd.nn.Node(nn.Dense(10), inputs="code_relu"),
            "decoder": kd.nn.Node(nn.Dense(8 * 8), inputs="code_relu", when="train"),
            "image": kd.nn.Node(
                kd.nn.Rearrange(
                    "b (h w c) -> b h w c", axes_lengths={"h": 8, "w": 8, "c": 1}
                ),
                inputs="decoder",
                when="train",
            ),
        },
        outputs={"logits": "head", "image": "image"},
    )

    cfg.num_train_steps = 600
    cfg.train_losses = {
        "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.label"
        ),
        "drawing": kd.losses.L2(preds="preds.image", targets="batch.image", weight=3.0),
    }
    cfg.train_metrics = {
        "accuracy": kd.metrics.Accuracy(logits="preds.logits", labels="batch.label"),
        # Every node is a key.
        "code_size": kd.metrics.Norm(tensor="interms.code_relu.__call__[0]"),
    }
    cfg.train_summaries = {
        "drawn": kd.summaries.ShowImages(images="preds.image", num_images=5),
    }
    cfg.optimizer = optax.adam(learning_rate=2e-3)

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=200)
    cfg.evals = {
        "eval": kd.evals.Evaluator(
            run=kd.evals.EveryNSteps(200),
            # There are no drawings here.
            losses={"xentropy": cfg.ref.train_losses["xentropy"]},
            metrics={"accuracy": cfg.ref.train_metrics["accuracy"]},
            summaries={},
        ),
    }
    cfg.log_metrics_every = 50
    cfg.log_summaries_every = 200
    return cfg


def _make_ds(training: bool):
    return kd.data.py.DataSource(
        data_source=digits_data.Digits(split="train" if training else "test"),
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
