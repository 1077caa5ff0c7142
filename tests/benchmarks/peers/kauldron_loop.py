"""Kauldron, ours or the published one: whichever this Python imports."""

import tempfile

import flax_models
import protocol
import sizes


def train(name, every, num_rounds, at_pause):
    import jax
    import optax

    from kauldron import kd

    class Pause(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            jax.block_until_ready(state)
            with jax.transfer_guard("allow"):
                at_pause()

    batch = sizes.batch(name)
    loss = kd.losses.SoftmaxCrossEntropyWithIntLabels(
        logits="preds.logits", labels="batch.label"
    )
    with tempfile.TemporaryDirectory() as folder:
        kd.train.Trainer(
            workdir=folder,
            seed=0,
            train_ds=kd.data.InMemoryPipeline(
                loader=lambda: batch, batch_size=len(batch["x"]), shuffle=False
            ),
            model=flax_models.make(name, kd.kontext.Key),
            optimizer=optax.adam(sizes.LEARNING_RATE),
            train_losses={"xentropy": loss},
            num_train_steps=every * num_rounds,
            log_metrics_every=500,
            log_summaries_every=10**6,
            evals={"pause": Pause(run=kd.evals.EveryNSteps(every))},
        ).train()


if __name__ == "__main__":
    protocol.answer(flax_models.make_raw, train)
