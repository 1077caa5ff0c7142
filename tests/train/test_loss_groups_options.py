"""Groups of losses in another precision, with rematerialisation."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from tests.train import small_run
from tests.train import test_loss_groups as groups_lib

pytestmark = pytest.mark.usefixtures("quick_compile")


class FlaxGan(nn.Module):
    """As `groups_lib.Gan`, in Flax's own mixed precision."""

    def setup(self):
        def mlp(width, size):
            layers = [nn.Dense(width, dtype="bfloat16"), nn.tanh]
            return nn.Sequential([*layers, nn.Dense(size, dtype="bfloat16")])

        self.generator, self.critic = mlp(4, 3), mlp(5, 1)

    def __call__(self, x):
        noise = jax.random.normal(self.make_rng("default"), (len(x), 2))
        real, fake = self.critic(x), self.critic(self.generator(noise))
        return real.astype(jnp.float32), fake.astype(jnp.float32)


def test_bf16_steps_are_close_to_hand_written_ones():
    trainer = groups_lib.make_trainer(
        "unused",
        groups_lib.make_step(order="alternating"),
        precision=kd.train.Precision(compute="bfloat16"),
    )
    model = FlaxGan()
    optimizers = {"critic": optax.adam(1e-2), "generator": optax.sgd(1e-1)}

    def loss_fn(own, name, params, batch, step):
        own = jax.tree.map(
            lambda x: x.astype(jnp.bfloat16), own
        )  # once, for both calls
        real, fake = model.apply(
            {"params": {**params, name: own}},
            batch["x"],
            rngs=trainer.rng_streams.train_rngs(step),
        )
        return fake.mean() - real.mean() if name == "critic" else -fake.mean()

    state = trainer.init_state()
    params = state.params
    opt_states = {k: opt.init(params[k]) for k, opt in optimizers.items()}

    @jax.jit
    def by_hand(params, opt_states, batch, step):
        for name, optimizer in optimizers.items():
            grads = jax.grad(loss_fn)(params[name], name, params, batch, step)
            updates, opt_state = optimizer.update(grads, opt_states[name])
            new = optax.apply_updates(params[name], updates)
            params, opt_states = (
                {**params, name: new},
                {**opt_states, name: opt_state},
            )
        return params, opt_states

    for step, batch in enumerate(trainer.train_ds.take(3)):
        batch = jax.device_put(batch, kd.sharding.FIRST_DIM)
        params, opt_states = by_hand(params, opt_states, batch, step)
        state, _ = trainer.trainstep.step(state, batch)
    # By hand, the gradients of biases are summed up in bf16, so that each is wrong by up to
    # 2^-8 for a few times; an update is 1e-2 to 1e-1 of it.
    close = functools.partial(np.testing.assert_allclose, rtol=2**-8, atol=2e-4)
    jax.tree.map(close, state.params, params)


def test_rematerialised_steps_have_the_same_bits():
    states = []
    for remat in (None, kd.train.Remat(modules=["generator", "critic"])):
        trainer = groups_lib.make_trainer("unused", remat=remat)
        *_, state = groups_lib.run(trainer, 2)
        states.append(state)
    groups_lib.assert_same_bits(*states)
    batch = jax.tree.map(jnp.asarray, next(iter(trainer.train_ds)))
    program = jax.make_jaxpr(trainer.trainstep._step)(trainer.state_specs, batch)
    assert "remat" in str(program)


FP16 = kd.train.Precision(
    compute="float16", loss_scale=kd.train.DynamicLossScale(initial=1024.0)
)


def _fp16_step(weight):
    """Returns states and contexts around a step: in fp16, and in f32."""
    losses = {
        **groups_lib.LOSSES,
        "fooled": kd.losses.Value(values="preds.fake_logits", weight=weight),
    }
    results = []
    for precision in (FP16, None):
        trainer = groups_lib.make_trainer(
            "unused",
            groups_lib.make_step(order="alternating"),
            train_losses=losses,
            precision=precision,
        )
        state = trainer.init_state()
        batch = next(iter(trainer.train_ds))
        step = jax.jit(trainer.trainstep._step)
        results.append((state, *step(state, batch)))
    return results


def test_groups_have_a_loss_scale_each_and_skip_their_own_overflows():
    (before, after, context), (_, _, in_f32) = _fp16_step(weight=1e6)
    assert has_same_bits(before, after, "generator")
    assert not has_same_bits(before, after, "critic")
    assert after.step == 1
    scales = {name: float(s.scale) for name, s in after.opt_state.items()}
    assert scales == {"critic": 1024, "generator": 512}
    states = context.metric_states
    assert states["skipped_updates"]["generator"].compute() == 1
    assert states["skipped_updates"]["critic"].compute() == 0
    assert states["loss_scale"]["critic"].compute() == 1024
    # Of the critic, ten bits are right.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3),
        context.grads["critic"],
        in_f32.grads["critic"],
    )


def test_scale_goes_with_ratios_and_accumulation():
    step = groups_lib.make_step(
        order="alternating",
        critic={"accum_steps": 2},
        generator={"every": 3, "accum_steps": 2},
    )
    trainer = groups_lib.make_trainer("unused", step, precision=FP16)
    trainer.check()
    scaled = trainer.state_specs.opt_state["generator"]
    assert isinstance(scaled.inner, optax.MultiStepsState)


def has_same_bits(before, after, name):
    trees = [s.params[name] for s in (before, after)]
    return small_run.state_hash(trees[0]) == small_run.state_hash(trees[1])


def test_gradients_are_averaged_in_f32_whatever_the_optimizer_keeps():
    trainer = groups_lib.make_trainer(
        "unused",
        groups_lib.make_step(critic={"accum_steps": 2}),
        precision=kd.train.Precision(opt_state="bfloat16"),
    )
    state = trainer.state_specs.opt_state["critic"]
    assert {x.dtype.name for x in jax.tree.leaves(state.acc_grads)} == {"float32"}
    assert {x.dtype.name for x in jax.tree.leaves(state.inner_opt_state[0].mu)} == {
        "bfloat16"
    }


def test_accumulation_by_splitting_batches_is_refused():
    trainer = groups_lib.make_trainer("unused", grad_accum_steps=2)
    with pytest.raises(ValueError, match=r"use `accum_steps` of a `LossGroup`"):
        trainer.check()
