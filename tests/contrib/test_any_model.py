"""The same network as Linen, NNX and Equinox module: same numbers, same run."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from kauldron import kd, kontext
from tests.train import small_run

_X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
_KEY = jax.random.key(0)


class Linen(nn.Module):
    x: kontext.Key = "batch.x"
    is_training = kd.nn.train_property()

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8, name="first")(x)
        x = nn.relu(nn.BatchNorm(not self.is_training, name="norm")(x))
        return {"logits": nn.Dense(2, name="last")(x)}


class Nnx(kd.contrib.knnx.KdNnxModule):
    x: kontext.Key = "batch.x"
    dropout_rate: float = 0.0

    def setup(self, rngs):
        self.first = nnx.Linear(3, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(self.dropout_rate, rngs=rngs)
        self.last = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.first(x)))
        self.sow(nnx.Intermediate, "features", x)
        return {"logits": self.last(self.dropout(x))}


class Foreign(nnx.Module):
    """An NNX module that knows nothing of kauldron."""

    def __init__(self, *, dropout_rate=0.0, rngs):
        self.first = nnx.Linear(3, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)
        self.last = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.first(x)))
        return {"logits": self.last(self.dropout(x))}


def _foreign(**kwargs):
    return kd.nn.ExternalModule(
        model=kd.contrib.nn.linen_from_nnx(Foreign, **kwargs), keys="batch.x"
    )


def _curve(workdir, model, params):
    """The loss of five steps from given parameters, and the state after them."""
    trainer = small_run.make_trainer(workdir, model=model, optimizer=optax.adam(1e-2))
    state = trainer.init_state()
    own = jax.tree.map(jnp.shape, state.params)
    assert own == jax.tree.map(jnp.shape, params)
    state = state.replace(params=jax.tree.map(jnp.copy, params))
    losses = []
    for batch in trainer.train_ds.take(5).device_put(trainer.sharding.batch):
        state, aux = trainer.trainstep.step(state, batch, return_losses=True)
        losses.append(aux.compute().loss_values["losses/total"])
    return losses, state


@pytest.mark.parametrize(
    "make",
    [Nnx, pytest.param(_foreign, marks=pytest.mark.slow)],
    ids=["own", "foreign"],
)
def test_training_curve_of_a_linen_and_an_nnx_module_are_equal(make, tmp_path):
    params = jax.jit(lambda x: Linen().init(_KEY, x, method=_init_method))(_X)["params"]
    losses, state = _curve(tmp_path / "linen", Linen(), params)
    assert len(set(map(float, losses))) == 5
    same, after = _curve(tmp_path / "nnx", make(), params)
    np.testing.assert_array_equal(same, losses)
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
    # Running means have moved, too, in a collection of another name.
    (stats,) = after.collections.values()
    jax.tree.map(np.testing.assert_array_equal, stats, state.collections["batch_stats"])


def _init_method(model, x):
    with kd.nn.set_train_property(True):
        return model(x)


@pytest.mark.parametrize("model", [Nnx(dropout_rate=0.5), _foreign(dropout_rate=0.5)])
def test_dropout_of_nnx_differs_from_step_to_step_and_stops_in_evaluation(model):
    variables = model.init(_KEY, _X)

    @jax.jit  # where a module that is an argument would drop the same each time
    def logits(seed):
        rngs = {"dropout": jax.random.key(seed)}
        with kd.nn.set_train_property(True):
            trained = model.apply(variables, _X, rngs=rngs)["logits"]
        with kd.nn.set_train_property(False):
            return trained, model.apply(variables, _X)["logits"]

    (first, still), (second, same), (again, _) = logits(1), logits(2), logits(1)
    assert np.any(first != second)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(still, same)


def test_outputs_of_the_parts_of_an_nnx_module_are_keys(tmp_path):
    metrics = {
        name: kd.metrics.Norm(tensor=f"interms.{path}[0]", axis=-1)
        for name, path in {"first": "first.__call__", "features": "features"}.items()
    }
    trainer = small_run.make_trainer(
        tmp_path, model=Nnx(), num_train_steps=1, train_metrics=metrics
    )
    _, aux = trainer.train()
    values = aux.compute().metric_values
    assert values["metrics/first"] > 0 and values["metrics/features"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nnx", "foreign"])
def test_an_nnx_module_continues_from_a_checkpoint_as_if_not_stopped(name, tmp_path):
    def make(workdir, num_train_steps):
        model = {"nnx": Nnx, "foreign": _foreign}[name](dropout_rate=0.5)
        return small_run.make_trainer(
            tmp_path / workdir,
            model=model,
            num_train_steps=num_train_steps,
            checkpointer=kd.ckpts.Checkpointer(save_interval_steps=2),
        )

    make("stopped", 2).train()
    continued, _ = make("stopped", 4).train()
    whole, _ = make("whole", 4).train()
    assert small_run.state_hash(continued) == small_run.state_hash(whole)


@pytest.mark.slow
def test_an_nnx_module_is_sharded_as_any_other(tmp_path):
    strategy = kd.sharding.ShardingStrategy(
        params=kd.sharding.FSDPSharding(min_size_to_shard_mb=0)
    )
    trainer = small_run.make_trainer(
        tmp_path, model=Nnx(), num_train_steps=1, sharding=strategy
    )
    state, _ = trainer.train()
    kernel = state.params["first"]["kernel"]
    assert len(kernel.addressable_shards) == 8
    assert kernel.addressable_shards[0].data.size == kernel.size // 8


def _equinox_network():
    eqx = pytest.importorskip("equinox")

    class Network(eqx.Module):
        first: eqx.nn.Linear
        norm: eqx.nn.BatchNorm
        drop: eqx.nn.Dropout
        last: eqx.nn.Linear

        def __init__(self, dropout_rate, *, key):
            self.first = eqx.nn.Linear(3, 8, key=key)
            self.norm = eqx.nn.BatchNorm(8, axis_name="batch", mode="batch")
            self.drop = eqx.nn.Dropout(dropout_rate)
            self.last = eqx.nn.Linear(8, 2, key=key)

        def __call__(self, x, state, *, key=None):
            x, state = self.norm(self.first(x), state)
            return {"logits": self.last(self.drop(jax.nn.relu(x), key=key))}, state

    return Network


def test_an_equinox_module_gives_the_numbers_of_the_same_linen_module():
    pytest.importorskip("equinox")
    model = kd.contrib.nn.linen_from_equinox(_equinox_network(), 0.0, keys="batch.x")
    with kd.nn.set_train_property(True):
        variables = model.init(_KEY, _X)
        logits, after = model.apply(variables, _X, mutable=True)
        params = variables["params"]
        linen = {
            name: {"kernel": params[name]["weight"].T, "bias": params[name]["bias"]}
            for name in ("first", "last")
        }
        linen["norm"] = {"scale": jnp.ones(8), "bias": jnp.zeros(8)}
        stats = {"norm": {"mean": jnp.zeros(8), "var": jnp.ones(8)}}
        expected, _ = Linen().apply(
            {"params": linen, "batch_stats": stats}, _X, mutable=True
        )
    np.testing.assert_allclose(
        logits["logits"], expected["logits"], rtol=1e-4, atol=1e-5
    )
    changed = jax.tree.map(np.array_equal, variables["state"], after["state"])
    assert not any(jax.tree.leaves(changed))


@pytest.mark.slow
def test_an_equinox_module_continues_from_a_checkpoint_as_if_not_stopped(tmp_path):
    network = _equinox_network()

    def make(workdir, num_train_steps):
        return small_run.make_trainer(
            tmp_path / workdir,
            model=kd.contrib.nn.linen_from_equinox(network, 0.5, keys="batch.x"),
            num_train_steps=num_train_steps,
            checkpointer=kd.ckpts.Checkpointer(save_interval_steps=2),
        )

    make("stopped", 2).train()
    continued, _ = make("stopped", 4).train()
    whole, _ = make("whole", 4).train()
    assert small_run.state_hash(continued) == small_run.state_hash(whole)


def test_an_equinox_module_without_equinox_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "equinox", None)
    with pytest.raises(ImportError, match="pip install equinox"):
        kd.contrib.nn.linen_from_equinox(object)
