"""A run for tests with several processes: saves often, evaluates an uneven dataset."""

from kauldron import konfig

with konfig.imports():
    import optax
    from flax import linen as nn

    from kauldron import kd
    from tests.train import processes_config, small_run


def get_config():
    return kd.train.Trainer(
        seed=3,
        train_ds=small_run.make_ds(),
        eval_ds=small_run.make_ds(
            # 43 = 2 * 16 + 11: the rest divides neither over devices nor over processes.
            training=False,
            data_source=small_run.Points(43),
        ),
        model=kd.nn.Sequential(
            inputs="batch.x",
            outputs="logits",
            layers=[nn.Dense(16), nn.relu, kd.nn.Dropout(0.2), nn.Dense(2)],
        ),
        num_train_steps=12,
        train_losses={
            "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
                logits="preds.logits", labels="batch.label"
            )
        },
        train_metrics={
            "accuracy": kd.metrics.Accuracy(logits="preds.logits", labels="batch.label")
        },
        optimizer=optax.adam(1e-2),
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=4),
        evals={"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(4))},
        hooks={"slow": processes_config.slow_steps(secs=0.0)},
        log_metrics_every=2,
    )


def slow_steps(secs):
    """A hook that makes each step take longer."""
    import time

    from kauldron import kd

    class SlowSteps(kd.train.Hook):
        def before_step(self, run, *, step, state, batch):
            time.sleep(secs)

    return SlowSteps()
