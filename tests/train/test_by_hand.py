"""A run through `Trainer` is the run that one would write with Flax and optax."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from kauldron import kd
from tests.train import small_run

NUM_STEPS = 5

# Numbers of the optimizer are constants in one loop, and arguments in the other.
pytestmark = pytest.mark.usefixtures("full_compile")


class Net(nn.Module):
    """The same module in both loops."""

    inputs: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, inputs):
        x = nn.relu(nn.Dense(8, name="body")(inputs))
        return {"logits": nn.Dense(2, name="head")(x)}


def _hand_written(trainer, optimizer):
    """Plain Flax, optax and jit: the same seed, the same batches."""
    model = Net()
    init_rngs = trainer.rng_streams.init_rngs()
    params = jax.jit(model.init)(init_rngs, np.zeros((16, 3), np.float32))["params"]
    everywhere = kd.sharding.REPLICATED
    params = jax.device_put(params, everywhere)
    opt_state = jax.device_put(optimizer.init(params), everywhere)

    @functools.partial(jax.jit, out_shardings=everywhere)
    def step(params, opt_state, batch):
        def loss_fn(params):
            logits = model.apply({"params": params}, batch["x"])["logits"]
            losses = optax.softmax_cross_entropy_with_integer_labels(
                logits, batch["label"][:, 0]
            )
            return losses.mean()

        grads = jax.grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for _, batch in zip(range(NUM_STEPS), trainer.train_ds, strict=False):
        batch = jax.device_put(batch, kd.sharding.FIRST_DIM)
        params, opt_state = step(params, opt_state, batch)
    return params, opt_state


def _adam():
    return optax.adam(1e-2)


def _adam_and_ema():
    return kd.optim.named_chain(
        adam=optax.adam(1e-2), ema=kd.optim.ema_params(decay=0.9, debias=False)
    )


def _head_only():
    return kd.optim.partial_updates(optax.adam(1e-2), kd.optim.select("head"))


def _head_only_by_hand():
    labels = {"body": "frozen", "head": "trained"}
    parts = {"trained": optax.adam(1e-2), "frozen": optax.set_to_zero()}
    return optax.multi_transform(parts, labels)


@pytest.mark.parametrize(
    ("ours", "by_hand"),
    [(_adam, _adam), (_head_only, _head_only_by_hand), (_adam_and_ema, _adam)],
)
def test_parameters_are_those_of_the_hand_written_loop_bit_for_bit(
    tmp_path, ours, by_hand
):
    trainer = small_run.make_trainer(
        tmp_path,
        model=Net(),
        optimizer=ours(),
        train_metrics={},
        num_train_steps=NUM_STEPS,
        log_metrics_every=100,
    )
    state, _ = trainer.train()
    params, _ = _hand_written(trainer, by_hand())
    jax.tree.map(np.testing.assert_array_equal, state.params, params)


def test_average_is_that_of_the_parameters_after_each_step(tmp_path):
    seen = {}

    class Spy(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            seen[step] = np.asarray(state.params["head"]["kernel"], np.float64)

    trainer = small_run.make_trainer(
        tmp_path,
        model=Net(),
        optimizer=_adam_and_ema(),
        num_train_steps=NUM_STEPS,
        evals={"spy": Spy(run=kd.evals.EveryNSteps(1))},
    )
    state, _ = trainer.train()
    average = seen[0]
    for step in range(1, NUM_STEPS + 1):
        average = 0.9 * average + 0.1 * seen[step]
    used = kd.optim.UseEmaParams().transform(state).params["head"]["kernel"]
    np.testing.assert_allclose(used, average, rtol=1e-5)  # f32 against f64
