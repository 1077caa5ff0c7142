"""Several losses, each for its own part of the model, with its own optimizer."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd, konfig
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")


class Gan(nn.Module):
    """Both networks in one pass; the noise is random."""

    x: kd.kontext.Key = "batch.x"
    width: int = 4

    def setup(self):
        self.generator = nn.Sequential([nn.Dense(self.width), nn.tanh, nn.Dense(3)])
        self.critic = nn.Sequential([nn.Dense(5), nn.tanh, nn.Dense(1)])

    def __call__(self, x):
        noise = jax.random.normal(self.make_rng("default"), (len(x), 2))
        fake = self.generator(noise)
        return {"real_logits": self.critic(x), "fake_logits": self.critic(fake)}


LOSSES = {
    "real": kd.losses.Value(values="preds.real_logits", weight=-1.0),
    "fake": kd.losses.Value(values="preds.fake_logits"),
    "fooled": kd.losses.Value(values="preds.fake_logits", weight=-1.0),
}


def make_step(*, order="simultaneous", frozen=(), generator=(), critic=()):
    critic = {
        "losses": ["real", "fake"],
        "params": "critic",
        "optimizer": optax.adam(1e-2),
        **dict(critic),
    }
    generator = {
        "losses": "fooled",
        "params": "generator",
        "optimizer": optax.sgd(1e-1),
        **dict(generator),
    }
    groups = {
        "critic": kd.train.LossGroup(**critic),
        "generator": kd.train.LossGroup(**generator),
    }
    return kd.train.LossGroupsStep(groups=groups, order=order, frozen=frozen)


def make_trainer(workdir, trainstep=None, **changes):
    return small_run.make_trainer(
        workdir,
        **{
            "model": Gan(),
            "train_losses": LOSSES,
            "train_metrics": {},
            "optimizer": None,
            "trainstep": trainstep or make_step(),
            **changes,
        },
    )


def run(trainer, num_steps):
    """Yields the state after each step, on the host."""
    state = trainer.init_state()
    for batch in trainer.train_ds.take(num_steps).device_put(trainer.sharding.batch):
        state, _ = trainer.trainstep.step(state, batch)
        yield jax.device_get(state)


def assert_same_bits(a, b):
    assert small_run.state_hash(a) == small_run.state_hash(b)


def _losses_by_hand(trainer, params, batch, step):
    with kd.nn.set_train_property(True):
        preds = trainer.model.apply(
            {"params": params},
            batch["x"],
            rngs=trainer.rng_streams.train_rngs(step),
        )
    real, fake = preds["real_logits"].mean(), preds["fake_logits"].mean()
    return fake - real, -fake


@jax.jit
def grads_of(params, batch, step):
    """Of the critic with the generator stopped, and the other way round."""
    trainer = make_trainer("unused")

    def loss(own, name, i):
        return _losses_by_hand(trainer, {**params, name: own}, batch, step)[i]

    return tuple(
        jax.grad(loss)(params[name], name, i)
        for i, name in enumerate(("critic", "generator"))
    )


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
def test_steps_equal_those_written_by_hand(order, tmp_path):
    trainer = make_trainer(tmp_path, make_step(order=order))
    adam, sgd = optax.adam(1e-2), optax.sgd(1e-1)
    params = jax.device_get(trainer.init_state().params)
    adam_state = adam.init(params["critic"])
    sgd_state = sgd.init(params["generator"])

    for step, batch in enumerate(trainer.train_ds.take(3)):
        critic_grads, generator_grads = grads_of(params, batch, step)
        updates, adam_state = adam.update(critic_grads, adam_state, params["critic"])
        new = {**params, "critic": optax.apply_updates(params["critic"], updates)}
        if order == "alternating":
            generator_grads = grads_of(new, batch, step)[1]
        updates, sgd_state = sgd.update(generator_grads, sgd_state, params["generator"])
        new["generator"] = optax.apply_updates(params["generator"], updates)
        params = new
    *_, state = run(trainer, 3)
    # Sums over eight devices are taken in another order.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6),
        state.params,
        params,
    )


NEVER = 1000


@functools.cache
def history(*, every=(("generator", 3),), accum_steps=(), num_steps=6):
    """Returns the trainer, its initial state and that after each step."""
    changes: dict[str, Any] = {name: {"every": n} for name, n in every}
    for name, n in accum_steps:
        changes.setdefault(name, {})["accum_steps"] = n
    trainer = make_trainer("unused", make_step(**changes))
    start = jax.device_get(trainer.init_state())
    return trainer, [start, *run(trainer, num_steps)]


def has_moved(before, after, name):
    kernels = [s.params[name]["layers_0"]["kernel"] for s in (before, after)]
    return bool(np.any(kernels[0] != kernels[1]))


def test_losses_of_the_critic_leave_the_generator_bit_identical():
    _, (start, _, after, *_) = history()
    assert_same_bits(after.params["generator"], start.params["generator"])
    assert_same_bits(after.opt_state["generator"], start.opt_state["generator"])
    assert has_moved(start, after, "critic")


def test_losses_of_the_generator_leave_the_critic_bit_identical():
    _, (start, _, after) = accumulating()
    assert_same_bits(after.params["critic"], start.params["critic"])
    assert_same_bits(after.opt_state["critic"], start.opt_state["critic"])
    assert has_moved(start, after, "generator")


def test_group_is_due_behind_every_so_many_steps():
    _, states = history()
    moved = [has_moved(*pair, "generator") for pair in itertools.pairwise(states)]
    assert moved == [False, False, True, False, False, True]


def test_step_is_compiled_once():
    trainer, _ = history()
    assert trainer.trainstep._jitted_step._cache_size() == 1


def accumulating():
    return history(
        every=(("critic", NEVER),), accum_steps=(("generator", 2),), num_steps=2
    )


def test_accumulated_update_is_that_of_the_mean_gradient():
    trainer, (start, first, second) = accumulating()
    assert_same_bits(first.params["generator"], start.params["generator"])

    grads = [
        grads_of(start.params, batch, i)[1]
        for i, batch in enumerate(trainer.train_ds.take(2))
    ]
    grads = jax.tree.map(lambda a, b: (a + b) / 2, *grads)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, start.params["generator"], grads)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        second.params["generator"],
        expected,
    )


def test_no_gradient_reaches_another_group():
    """However large the generator's loss: the critic's update has the same bits."""
    loud = dataclasses.replace(LOSSES["fooled"], weight=-1e6)
    trainer = make_trainer(
        "unused",
        make_step(generator={"every": 3}),
        train_losses={**LOSSES, "fooled": loud},
    )
    _, (_, _, _, plain, *_) = history()
    *_, changed = run(trainer, 3)
    assert has_moved(plain, changed, "generator")
    assert_same_bits(plain.params["critic"], changed.params["critic"])
    assert_same_bits(plain.opt_state["critic"], changed.opt_state["critic"])


def _flops(fn, *args):
    return jax.jit(fn).lower(*args).compile().cost_analysis()["flops"]


@pytest.mark.slow
def test_forward_pass_is_shared(tmp_path):
    """The generator dominates here: the naive way runs it twice."""
    flops = {}
    for order in ("simultaneous", "alternating"):
        step = make_step(order=order, critic={"optimizer": optax.sgd(0.1)})
        trainer = make_trainer(tmp_path, step, model=Gan(width=2000))
        state = trainer.init_state()
        batch = next(iter(trainer.train_ds))

        def params_only(state, batch, trainer=trainer):
            return trainer.trainstep._step(state, batch)[0].params

        flops[order] = _flops(params_only, state, batch)
    params = state.params
    # Of 16 examples: two numbers to 2000, and these to three, a product and a sum each.
    forward = 2 * 16 * (2 * 2000 + 2000 * 3)
    naive = sum(
        _flops(
            lambda own, name=name, i=i: jax.grad(
                lambda own: _losses_by_hand(trainer, {**params, name: own}, batch, 0)[i]
            )(own),
            params[name],
        )
        for i, name in enumerate(("critic", "generator"))
    )
    assert naive - flops["simultaneous"] > 0.8 * forward
    # Another pass of the critic only, which is 1/400 of the generator.
    assert flops["alternating"] - flops["simultaneous"] < 0.05 * forward


def test_gradients_and_learning_rates_of_each_group_can_be_seen(tmp_path):
    norm = kd.metrics.TreeReduce(
        metric=kd.metrics.Norm(
            tensor="grads.generator", axis=None, aggregation_type="concat"
        )
    )
    step = make_step(
        critic={"optimizer": optax.adam(3e-4)},
        generator={
            "optimizer": optax.sgd(optax.linear_schedule(1.0, 0.0, 4)),
            "every": 2,
        },
    )
    trainer = make_trainer(
        tmp_path,
        step,
        train_metrics={"norm": norm},
        num_train_steps=6,
        log_metrics_every=1,
    )
    trainer.train()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    # Zeros on steps on which the group is not due.
    assert [r["metrics/norm"] > 0 for r in records] == [False, True] * 3
    np.testing.assert_allclose(
        [r["schedules/learning_rate/critic"] for r in records], 3e-4
    )
    # The schedule counts the updates of the group.
    np.testing.assert_allclose(
        [r["schedules/learning_rate/generator"] for r in records],
        [1, 1, 0.75, 0.75, 0.5, 0.5],
    )
    paths = trainer.context_specs.flatten()
    params = {p.removeprefix("params.") for p in paths if p.startswith("params.")}
    for root in ("grads", "updates"):
        assert params == {
            p.removeprefix(f"{root}.") for p in paths if p.startswith(f"{root}.")
        }


def test_restored_run_ends_with_the_same_bits(tmp_path):
    step = make_step(
        order="alternating",
        critic={"accum_steps": 2},
        generator={"every": 3, "optimizer": optax.adam(1e-2)},
    )
    trainer = make_trainer(tmp_path, step)
    checkpointer = kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1)
    batches = list(trainer.train_ds.take(7).device_put(trainer.sharding.batch))
    state = trainer.init_state()
    for i, batch in enumerate(batches):
        if i == 5:  # half of an update of the critic is accumulated
            checkpointer.save(state, step=5, force=True)
            checkpointer.wait_until_finished()
        state, _ = trainer.trainstep.step(state, batch)
    restored = checkpointer.restore(trainer.init_state(), step=5)
    checkpointer.close()
    for batch in batches[5:]:
        restored, _ = trainer.trainstep.step(restored, batch)
    assert_same_bits(restored, state)


def test_frozen_parameters_and_shared_losses(tmp_path):
    """A loss may train several groups; what is frozen stays as it is."""
    step = make_step(
        frozen="critic.layers_2",
        critic={"params": "critic.layers_0"},
        generator={"losses": ["fooled", "real"]},
    )
    trainer = make_trainer(tmp_path, step)
    trainer.check()
    before = jax.device_get(trainer.init_state())
    *_, after = run(trainer, 2)
    frozen = ("critic", "layers_2")
    assert_same_bits(*(s.params[frozen[0]][frozen[1]] for s in (before, after)))
    # Two moments and a count, of the kernel and bias that are trained.
    moments = [x for x in jax.tree.leaves(after.opt_state["critic"]) if np.ndim(x)]
    assert sum(x.size for x in moments) == 2 * (3 * 5 + 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"critic": {"losses": "real"}}, r"losses \['fake'\] are in no group"),
        (
            {"critic": {"losses": ["real", "fkae"]}},
            r"group 'critic' names the loss 'fkae'.*Did you mean 'fake'\?",
        ),
        (
            {"critic": {"params": "critc"}},
            r"The glob 'critc' of group 'critic' matches no parameter. Near: \['critic'",
        ),
        (
            {"critic": {"params": "critic.layers_0"}},
            r"'critic.layers_2.bias', .* are in no group",
        ),
        (
            {"critic": {"params": "**"}},
            r"'generator.layers_0.bias' is in group 'critic' and group 'generator'",
        ),
        ({"frozen": "nothing"}, r"The glob 'nothing' of `frozen` matches no parameter"),
        ({"frozen": "critic.layers_0"}, "is in group 'critic' and `frozen`"),
    ],
)
def test_groups_that_do_not_fit_are_told_before_anything_runs(
    changes, message, tmp_path
):
    trainer = make_trainer(tmp_path, make_step(**changes))
    with pytest.raises(ValueError, match=message) as e:
        trainer.check()
    assert "cfg.trainstep" in str(e.value)
    with pytest.raises(ValueError, match=message):
        trainer.init_state()


def test_values_that_make_no_sense_are_told():
    with pytest.raises(ValueError, match="`every` must be at least 1: got 0"):
        make_step(critic={"every": 0})
    with pytest.raises(ValueError, match="'simultaneous' or 'alternating': got 'x'"):
        make_step(order="x")
    with pytest.raises(ValueError, match="`losses` names no loss"):
        make_step(critic={"losses": []})
    with pytest.raises(ValueError, match=r"got None.*go to `frozen`"):
        make_step(critic={"optimizer": None})
    with pytest.raises(ValueError, match=r"maps names to .*LossGroup.*: got list"):
        kd.train.LossGroupsStep(groups=["critic"])
    with pytest.raises(ValueError, match="`groups` is empty"):
        kd.train.LossGroupsStep(groups={})


def test_optimizer_of_the_trainer_would_be_ignored(tmp_path):
    with pytest.raises(ValueError, match=r"Set `cfg.optimizer = None`"):
        make_trainer(tmp_path, optimizer=optax.sgd(1.0))


def test_groups_can_be_changed_from_a_config():
    with konfig.imports(lazy=True):
        import optax as lazy_optax

        from kauldron import kd as lazy_kd

    cfg: Any = lazy_kd.train.LossGroupsStep(
        groups={
            "critic": lazy_kd.train.LossGroup(
                losses=["real"],
                params="critic",
                optimizer=lazy_optax.adam(learning_rate=0.1),
            )
        }
    )
    cfg.groups.critic.every = 4
    cfg.groups.critic.optimizer.learning_rate = 0.2
    cfg.order = "alternating"
    step = konfig.resolve(cfg)
    assert step.groups["critic"].every == 4
    rates = kd.optim.learning_rates(step.optimizer)
    assert {name: rate(0) for name, rate in rates.items()} == {"critic": 0.2}
    assert step.order == "alternating"


def test_other_variables_change_once_a_step(tmp_path):
    class WithStats(nn.Module):
        x: kd.kontext.Key = "batch.x"

        def setup(self):
            self.generator = nn.Dense(3)
            self.critic = nn.Dense(1)
            self.count = self.variable("stats", "count", lambda: jnp.zeros(()))

        def __call__(self, x):
            if not self.is_initializing():
                self.count.value += 1
            fake = self.generator(jnp.ones_like(x))
            return {"real_logits": self.critic(x), "fake_logits": self.critic(fake)}

    trainer = make_trainer(tmp_path, make_step(order="alternating"), model=WithStats())
    *_, state = run(trainer, 3)
    assert state.collections["stats"]["count"] == 3
