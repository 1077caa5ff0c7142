"""Optimizers that want more than gradients: the loss, or a function that computes it."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")


class Line(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        return {"y": nn.Dense(1, name="layer")(x)}


def make_trainer(optimizer, **changes):
    return small_run.make_trainer(
        "unused",
        **{
            "model": Line(),
            "train_losses": {
                "l2": kd.losses.L2(preds="preds.y", targets="batch.label")
            },
            "train_metrics": {},
            "optimizer": optimizer,
            "sharding": kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED),
            **changes,
        },
    )


OPTIMIZERS = {
    "lbfgs": optax.lbfgs(),
    "named_chain": kd.optim.named_chain(
        adam=optax.adam(0.1),
        plateau=optax.contrib.reduce_on_plateau(patience=1, rtol=0.9),
        ema=kd.optim.ema_params(decay=0.5),
    ),
    "by_path": kd.optim.by_path(
        {"**.bias": optax.adam(0.1), "**": optax.polyak_sgd(max_learning_rate=0.1)}
    ),
}


RARE = {
    "polyak_sgd": optax.polyak_sgd(),
    "momo_adam": optax.contrib.momo_adam(),
    "sophia": optax.contrib.sophia(0.1, update_interval=2),
}


@pytest.mark.parametrize(
    "name",
    [*OPTIMIZERS, *(pytest.param(name, marks=pytest.mark.slow) for name in RARE)],
)
def test_steps_equal_those_of_optax_with_value_and_gradient(name):
    optimizer = (OPTIMIZERS | RARE)[name]
    trainer = make_trainer(optimizer)
    trainer.check()
    state = trainer.init_state()
    params, opt_state = state.params, optimizer.init(state.params)
    step = jax.jit(trainer.trainstep._step)

    @jax.jit
    def by_hand(params, opt_state, batch):
        def value_fn(params):
            return _loss_by_hand(params, batch)

        value, grad = jax.value_and_grad(value_fn)(params)
        functions = {"obj_fn" if name == "sophia" else "value_fn": value_fn}
        updates, opt_state = optimizer.update(
            grad, opt_state, params, value=value, grad=grad, **functions
        )
        return optax.apply_updates(params, updates), opt_state

    for batch in trainer.train_ds.take(3):
        state, _ = step(state, batch)
        params, opt_state = by_hand(params, opt_state, batch)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        (state.params, state.opt_state),
        (params, opt_state),
    )


def _loss_by_hand(params, batch):
    layer = params["layer"]
    y = batch["x"] @ layer["kernel"] + layer["bias"]
    return ((y - batch["label"]) ** 2).mean()


def test_step_of_a_plain_optimizer_is_the_same_program():
    class WithoutArgs(kd.train.TrainStep):
        def apply_grads(self, state, context, grads):
            updates, opt_state = self.optimizer.update(
                grads, state.opt_state, state.params
            )
            params = optax.apply_updates(state.params, updates)
            after = dataclasses.replace(
                state, step=state.step + 1, params=params, opt_state=opt_state
            )
            context = dataclasses.replace(context, grads=grads, updates=updates)
            return after, self.aux.update_context(context)

    programs = []
    for step in (kd.train.TrainStep(), WithoutArgs()):
        trainer = make_trainer(optax.adam(1e-2), trainstep=step)
        batch = next(iter(trainer.train_ds))
        programs.append(
            str(jax.make_jaxpr(trainer.trainstep._step)(trainer.state_specs, batch))
        )
    assert programs[0] == programs[1]


def _remember_value():
    def update(updates, state, params=None, *, value, grad, **extra_args):
        dtypes = {x.dtype for x in jax.tree.leaves((params, grad))}
        assert dtypes == {jnp.dtype("float32")}
        return updates, {"value": value, "norm": optax.tree.norm(grad)}

    zeros = {"value": jnp.zeros(()), "norm": jnp.zeros(())}
    return optax.GradientTransformationExtraArgs(lambda params: zeros, update)


def test_loss_and_gradient_are_unscaled_and_f32():
    precision = kd.train.Precision(
        params="bfloat16",
        compute="float16",
        opt_state="float32",
        loss_scale=kd.train.DynamicLossScale(initial=1024.0),
    )
    trainer = make_trainer(_remember_value(), precision=precision)
    state, batch = trainer.init_state(), next(iter(trainer.train_ds))
    after, context = jax.jit(trainer.trainstep._step)(state, batch)
    seen = after.opt_state.inner.inner
    np.testing.assert_allclose(seen["value"], context.loss_total, rtol=1e-6)
    np.testing.assert_allclose(seen["norm"], optax.tree.norm(context.grads), rtol=1e-6)
    assert after.opt_state.num_skipped == 0


def test_groups_of_losses_get_their_own_value():
    groups = {
        "bias": kd.train.LossGroup(
            losses="size", params="layer.bias", optimizer=optax.lbfgs()
        ),
        "kernel": kd.train.LossGroup(
            losses="l2", params="layer.kernel", optimizer=_remember_value()
        ),
    }
    losses = {
        "size": kd.losses.L2(preds="preds.y", targets="batch.label", weight=3.0),
        "l2": kd.losses.L2(preds="preds.y", targets="batch.label"),
    }
    trainer = make_trainer(
        None, train_losses=losses, trainstep=kd.train.LossGroupsStep(groups=groups)
    )
    trainer.check()
    state, batch = trainer.init_state(), next(iter(trainer.train_ds))
    after, _ = jax.jit(trainer.trainstep._step)(state, batch)
    np.testing.assert_allclose(
        after.opt_state["kernel"]["value"],
        _loss_by_hand(state.params, batch),
        rtol=1e-5,
    )
    moved = {"layer": {**state.params["layer"], "bias": after.params["layer"]["bias"]}}
    assert _loss_by_hand(moved, batch) < _loss_by_hand(state.params, batch)


class Dropped(nn.Module):
    """A layer behind dropout, whose output depends on the random numbers alone."""

    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        x = nn.Dropout(0.5, deterministic=False)(jnp.ones_like(x))
        return {"y": nn.Dense(1, name="layer")(x)}


def _keep_values():
    def update(updates, state, params, *, value, value_fn, **extra_args):
        del state, extra_args
        updates = jax.tree.map(lambda g: -0.1 * g, updates)
        return updates, {"value": value, "again": value_fn(params)}

    zeros = {"value": jnp.zeros(()), "again": jnp.zeros(())}
    return optax.GradientTransformationExtraArgs(lambda params: zeros, update)


def test_loss_at_other_parameters_has_the_dropout_of_this_step():
    trainer = make_trainer(_keep_values(), model=Dropped())
    state, batch = trainer.init_state(), next(iter(trainer.train_ds))
    seen = []
    for _ in range(3):
        state, _ = trainer.trainstep.step(state, batch)
        seen.append(float(state.opt_state["value"]))
        np.testing.assert_allclose(state.opt_state["again"], seen[-1], rtol=1e-5)
    assert len(set(seen)) == 3  # each step drops something else


def test_search_along_a_line_does_not_go_with_accumulation():
    trainer = make_trainer(optax.lbfgs(), grad_accum_steps=2)
    with pytest.raises(
        kd.errors.UserError, match=r"(?s)`optax.lbfgs`.*set `cfg.grad_accum_steps = 1`"
    ):
        trainer.check()
    make_trainer(optax.polyak_sgd(), grad_accum_steps=2).check()


@pytest.mark.parametrize("optimizer", [optax.lbfgs(), optax.contrib.sophia(0.1)])
def test_search_needs_all_parameters(optimizer):
    by_path = kd.optim.by_path({"**.bias": optax.sgd(0.1), "**": optimizer})
    with pytest.raises(
        kd.errors.UserError, match="the loss at a part of the parameters"
    ):
        make_trainer(by_path).check()


def test_optimizer_that_wants_something_unknown_is_told_before_compiling():
    def update(updates, state, params=None, *, temperature, **extra_args):
        return updates, state

    optimizer = optax.GradientTransformationExtraArgs(lambda params: (), update)
    with pytest.raises(TypeError, match="'temperature'") as e:
        make_trainer(optimizer).check()
    assert any("`cfg.optimizer`" in note for note in e.value.__notes__)
