"""Modules around modules: readouts, NNX."""

from __future__ import annotations

import threading

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from kauldron import kd, kontext
from tests.train import small_run

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
KEY = jax.random.key(0)


class Trunk(nn.Module):
    x: kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        hidden = nn.relu(nn.Dense(4, name="first")(x))
        return {"features": hidden, "logits": nn.Dense(2, name="last")(hidden)}


@flax.struct.dataclass
class _Outputs:
    features: jax.Array


def _readout(**changes):
    kwargs = {
        "model": Trunk(),
        "readout_heads": {"a": nn.Dense(2), "b": nn.Dense(3)},
        "readout_inputs": {
            "a": "preds.features",
            "b": {"inputs": "interms.first.__call__[0]"},
        },
    }
    return kd.contrib.nn.ReadoutWrapper(**{**kwargs, **changes})


def test_heads_read_what_the_model_and_its_modules_return():
    module = _readout()
    assert kontext.get_keypaths(module) == {"x": "batch.x"}
    variables = jax.jit(module.init)(KEY, x=X)
    params = variables["params"]
    preds = jax.jit(module.apply)(variables, x=X)
    assert set(preds) == {"features", "logits", "readouts"}
    plain = jax.jit(Trunk().apply)({"params": params["model"]}, X)
    np.testing.assert_array_equal(preds["logits"], plain["logits"])
    a, b, first = (
        params[name] for name in ("readout_heads_a", "readout_heads_b", "model")
    )
    by_hand = np.asarray(plain["features"]) @ a["kernel"] + a["bias"]
    np.testing.assert_allclose(preds["readouts"]["a"], by_hand, rtol=1e-5)
    before_relu = X @ first["first"]["kernel"] + first["first"]["bias"]
    by_hand = before_relu @ b["kernel"] + b["bias"]
    np.testing.assert_allclose(preds["readouts"]["b"], by_hand, rtol=1e-5)


@pytest.mark.parametrize("finetune", [False, True])
def test_heads_train_the_model_only_if_they_are_to(finetune):
    module = _readout(finetune=finetune)
    variables = jax.jit(module.init)(KEY, x=X)

    def loss(params):
        return sum(
            jnp.square(x).sum()
            for x in module.apply({"params": params}, x=X)["readouts"].values()
        )

    grads = jax.jit(jax.grad(loss))(variables["params"])
    size = optax.tree_utils.tree_norm(grads["model"])
    assert (size > 0) == finetune
    assert optax.tree_utils.tree_norm(grads["readout_heads_a"]) > 0


def test_heads_with_keys_of_their_own_need_no_others():
    class Head(nn.Module):
        features: kontext.Key = "preds.features"

        @nn.compact
        def __call__(self, features):
            return nn.Dense(1)(features)

    module = _readout(readout_heads={"h": Head()}, readout_inputs=None)
    preds, _ = jax.jit(module.init_with_output)(KEY, x=X)
    assert preds["readouts"]["h"].shape == (4, 1)


def test_what_a_model_returns_may_be_an_array_or_a_dataclass():
    class AsArray(nn.Module):
        def __call__(self, x):
            return x

    class AsData(nn.Module):
        def __call__(self, x):
            return _Outputs(features=x)

    heads = {"readout_heads": {"a": nn.Dense(2)}, "model_inputs": {"x": "batch.x"}}
    array = _readout(model=AsArray(), readout_inputs={"a": "preds"}, **heads)
    assert kontext.get_keypaths(array) == {"x": "batch.x"}
    preds = array.init_with_output(KEY, X)[0]
    assert set(preds) == {"preds", "readouts"}
    data = _readout(model=AsData(), readout_inputs={"a": "preds.features"}, **heads)
    assert set(data.init_with_output(KEY, X)[0]) == {"features", "readouts"}


def test_a_head_that_does_not_say_what_it_reads_is_named():
    module = _readout(readout_inputs={"a": "preds.features"})
    with pytest.raises(ValueError, match=r"head 'b' .* has no keys"):
        module.init(KEY, x=X)
    module = _readout(readout_inputs={"a": "preds.feature", "b": "preds.features"})
    with pytest.raises(KeyError, match=r"preds\.feature\b"):
        module.init(KEY, x=X)


def test_a_wrapped_model_trains_in_a_run(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path,
        model=_readout(),
        num_train_steps=2,
        optimizer=optax.sgd(0.5),
        train_metrics={},
        train_losses={
            "a": kd.losses.SoftmaxCrossEntropyWithIntLabels(
                logits="preds.readouts.a", labels="batch.label"
            )
        },
    )
    before = jax.tree.map(np.asarray, trainer.init_state().params)
    state, _ = trainer.train()
    same = jax.tree.map(lambda a, b: bool(np.all(a == b)), before, state.params)
    assert all(jax.tree.leaves(same["model"]))
    assert not any(jax.tree.leaves(same["readout_heads_a"]))


class Classifier(kd.contrib.knnx.KdNnxModule):
    x: kontext.Key = kontext.REQUIRED
    hidden: int = 4

    def setup(self, rngs):
        self.first = nnx.Linear(3, self.hidden, rngs=rngs)
        self.norm = nnx.BatchNorm(self.hidden, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(self.hidden, 2, rngs=rngs)

    def __call__(self, x):
        return {"logits": self.last(self.drop(self.norm(self.first(x))))}

    def features(self, x):
        return self.first(x)


def test_an_nnx_module_is_a_dataclass_with_keys():
    module = Classifier(x="batch.x", hidden=5)
    assert kontext.get_keypaths(module) == {"x": "batch.x"}
    assert module.hidden == 5 and not hasattr(module, "first")
    with pytest.raises(TypeError, match="hiden"):
        Classifier(x="batch.x", hiden=5)


def test_variables_of_an_nnx_module_go_in_and_come_out():
    module = Classifier(x="batch.x")
    variables = jax.jit(module.init)({"params": KEY}, X)
    assert set(variables) == {"params", "nnx"}
    assert variables["params"]["first"]["kernel"].shape == (3, 4)
    assert variables["nnx"]["norm"]["mean"].shape == (4,)
    variables["params"]["first"]["kernel"] = jnp.ones((3, 4))
    by_hand = X @ np.ones((3, 4)) + variables["params"]["first"]["bias"]
    out = module.apply(variables, X, method="features")
    np.testing.assert_allclose(out, by_hand, rtol=1e-6)
    out = module.apply(variables, X, method=Classifier.features)
    np.testing.assert_allclose(out, by_hand, rtol=1e-6)


def test_an_nnx_module_knows_whether_it_is_trained():
    module = Classifier(x="batch.x")
    variables = jax.jit(module.init)(KEY, X)
    rngs = {"dropout": jax.random.key(1)}
    with kd.nn.set_train_property(True):
        a, after = module.apply(variables, X, rngs=rngs, mutable=True)
        b = module.apply(variables, X, rngs={"dropout": jax.random.key(2)})
    assert not np.array_equal(a["logits"], b["logits"])  # dropout
    # Flax: the running mean moves by (1 - momentum) towards that of the batch.
    params = variables["params"]["first"]
    mean = (X @ params["kernel"] + params["bias"]).mean(0)
    moved = np.asarray(after["nnx"]["norm"]["mean"])
    np.testing.assert_allclose(moved, 0.01 * mean, rtol=1e-3, atol=1e-7)
    assert after["intermediates"]["__call__"][0]["logits"].shape == (4, 2)
    with kd.nn.set_train_property(False):
        c, still = module.apply(variables, X, mutable=True)
        d = module.apply(variables, X)
    np.testing.assert_array_equal(c["logits"], d["logits"])
    assert not np.asarray(still["nnx"]["norm"]["mean"]).any()


def test_variables_of_another_module_are_refused():
    variables = jax.jit(Classifier(x="batch.x").init)(KEY, X)
    del variables["params"]["last"]
    with pytest.raises(ValueError, match=r"'last\.bias'|'last\.kernel'"):
        Classifier(x="batch.x").apply(variables, X)


def test_outputs_are_recorded_in_one_thread_while_another_calls_the_module():
    is_recording, has_called = threading.Event(), threading.Event()

    class Waiting(Classifier):
        def setup(self, rngs):
            super().setup(rngs)

        def __call__(self, x):
            if threading.current_thread().name == "recording":
                is_recording.set()
                has_called.wait(0.2)  # the other one has to wait for its turn
            return super().__call__(x)

    module = Waiting(x="batch.x")
    variables = module.init(KEY, X)
    found = []
    recording = threading.Thread(
        name="recording",
        target=lambda: found.append(
            module.apply(variables, X, mutable=True, capture_intermediates=True)
        ),
    )
    recording.start()
    is_recording.wait(60)
    module.apply(variables, X)
    has_called.set()
    recording.join()
    [(_, after)] = found
    assert "__call__" in after["intermediates"]


def test_an_nnx_module_trains_evaluates_and_continues(tmp_path):
    def make(num_train_steps):
        return small_run.make_trainer(
            tmp_path,
            model=Classifier(x="batch.x"),
            num_train_steps=num_train_steps,
            checkpointer=kd.ckpts.Checkpointer(save_interval_steps=2),
            evals={"eval": kd.evals.Evaluator(run=kd.evals.Once(4))},
        )

    state, aux = make(2).train()
    assert np.asarray(state.collections["nnx"]["norm"]["mean"]).any()
    assert np.isfinite(aux.compute().loss_values["losses/total"])
    state, _ = make(4).train()
    assert int(state.step) == 4
    (line,) = small_run.records(tmp_path, "eval")
    assert np.isfinite(line["losses/total"])


class Plain(nnx.Module):
    x: kontext.Key

    def __init__(self, features, *, rngs):
        self.dense = nnx.Linear(3, features, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return {"logits": self.drop(self.dense(x))}


def test_any_nnx_module_becomes_a_linen_module_with_keys():
    module = kd.contrib.nn.linen_from_nnx(Plain, 2, x="batch.x")
    assert isinstance(module, nn.Module)
    assert kontext.get_keypaths(module) == {"x": "batch.x"}
    variables = jax.jit(module.init)(KEY, X)
    params = variables["params"]["dense"]
    with kd.nn.set_train_property(False):
        out = module.apply(variables, X)["logits"]
    np.testing.assert_allclose(out, X @ params["kernel"] + params["bias"], rtol=1e-6)
    with kd.nn.set_train_property(True):
        out = module.apply(variables, X, rngs={"dropout": KEY})["logits"]
    assert (np.asarray(out) == 0).any()


def test_a_function_that_makes_an_nnx_module_is_one_too():
    module = kd.contrib.knnx.LinenModuleFromNnxDef(
        nnx_init=lambda rngs: nnx.Linear(3, 2, rngs=rngs)
    )
    variables = jax.jit(module.init)(KEY, X)
    kernel, bias = (variables["params"][k] for k in ("kernel", "bias"))
    np.testing.assert_allclose(module.apply(variables, X), X @ kernel + bias, rtol=1e-6)
