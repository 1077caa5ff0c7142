"""A decoder of 0.63 M parameters that writes help texts of Python, byte by byte.

    kauldron train --cfg=configs/python_docs.py --cfg.workdir=runs/python_docs

Five to six minutes of processor time. With seed 42 and the texts of Python 3.11, a byte of
a held-out topic takes 2.08 bits if 128 bytes or more are in front of it. bzip2 takes 2.59
for the held-out topics alone, and 1.78 behind the training topics: it finds again what is
written twice, however far back, which this decoder of 256 bytes has to know by heart. It is
a recipe to start from, no good compressor.
"""

from kauldron import konfig

with konfig.imports():
    import optax

    from examples import python_docs_data
    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42
    cfg.aux = {"num_features": 128, "num_layers": 3}

    cfg.train_ds = _make_ds(training=True)
    cfg.eval_ds = _make_ds(training=False)

    cfg.model = kd.nn.CausalLM(
        tokens="batch.tokens",
        vocab_size=256,
        features=cfg.ref.aux.num_features,
        num_layers=cfg.ref.aux.num_layers,
        blocks=[
            kd.nn.DecoderBlock(
                attention=kd.nn.GQAttention(num_heads=4),
                feed_forward=kd.nn.FeedForward(hidden_features=320),
            ),
        ],
    )

    cfg.num_train_steps = 2000
    cfg.train_losses = {
        "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.targets"
        ),
    }
    cfg.train_metrics = {
        "accuracy": kd.metrics.Accuracy(logits="preds.logits", labels="batch.targets"),
    }

    cfg.schedules = {
        "learning_rate": optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=3e-3,
            warmup_steps=100,
            decay_steps=cfg.ref.num_train_steps,
        ),
    }
    cfg.optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(cfg.ref.schedules["learning_rate"], b2=0.99, weight_decay=0.05),
    )

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=500)
    cfg.evals = {"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(500))}
    cfg.log_metrics_every = 50
    return cfg


def _make_ds(training: bool):
    return kd.data.py.DataSource(
        data_source=python_docs_data.PythonDocs(
            split="train" if training else "test",
            length=256,
            stride=32 if training else 256,  # other beginnings in training
        ),
        shuffle=training,
        num_epochs=None if training else 1,
        batch_size=4 if training else 16,
    )
