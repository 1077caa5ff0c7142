"""A graph in a run: keys, remat, gradients of a step, checkpoints."""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from kauldron import kd
from tests.modules.graph import models
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile", "training")


class ByHand(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(8, name="encoder")(x))
        return {"logits": nn.Dense(2, name="head")(kd.nn.Dropout(0.2, name="drop")(x))}


def make_graph():
    return kd.nn.Graph(
        nodes={
            "encoder": kd.nn.Node(nn.Dense(8), "batch.x"),
            "relu": kd.nn.Node(nn.relu, "encoder"),
            "drop": kd.nn.Node(kd.nn.Dropout(0.2), "relu"),
            "head": kd.nn.Node(nn.Dense(2), "drop"),
        },
        outputs={"logits": "head"},
    )


def make_trainer(workdir="unused", **changes):
    metrics = {"std": kd.metrics.Std(values="interms.encoder.__call__[0]")}
    defaults = {"model": make_graph(), "train_metrics": metrics, "num_train_steps": 4}
    return small_run.make_trainer(workdir, **{**defaults, **changes})


def step_of(trainer):
    return lambda s, b: trainer.trainstep._step(s, b)[1].grads


def test_training_step_is_the_program_of_the_module_by_hand():
    programs = []
    for model in (make_graph(), ByHand()):
        trainer = make_trainer(model=model)
        batch = next(iter(trainer.train_ds))
        programs.append(models.program_of(step_of(trainer), trainer.state_specs, batch))
    assert programs[0] == programs[1]


@pytest.mark.slow
def test_remat_and_freezing_change_neither_parameters_nor_statistics_nor_keys():
    def run(frozen, remat=None):
        model = kd.nn.Graph(
            nodes={
                "encoder": kd.nn.Node(models.Block(8), "batch.x", frozen=frozen),
                "first": kd.nn.Node("block", "encoder", frozen=frozen),
                "second": kd.nn.Node("block", "first"),
                "head": kd.nn.Node(nn.Dense(2), "second"),
            },
            shared={"block": models.Block(8)},
            outputs={"logits": "head"},
        )
        trainer = make_trainer(model=model, remat=remat)
        batch = next(iter(trainer.train_ds))
        state = trainer.init_state()
        step = jax.jit(lambda s, b: trainer.trainstep._step(s, b)[1])
        context = step(state, batch)
        kept = (state.params, context.preds, context.collections, context.interms)
        return kept, context.grads

    frozen, grads = run(True)
    remat = kd.train.Remat(modules=["encoder", "first", "block"])
    again = run(True, remat)
    jax.tree.map(np.testing.assert_array_equal, again, (frozen, grads))
    kept, other_grads = run(False)
    jax.tree.map(np.testing.assert_array_equal, kept, frozen)
    assert not any(np.any(g) for g in jax.tree.leaves(grads["encoder"]))
    assert np.any(grads["block"]["Dense_0"]["kernel"])
    assert np.any(other_grads["encoder"]["Dense_0"]["kernel"])


def test_weight_decay_leaves_frozen_parameters_to_the_mask():
    graph = kd.nn.Graph(
        nodes={
            "a": kd.nn.Node(nn.Dense(1, use_bias=False), "batch.x", frozen=True),
            "b": kd.nn.Node(nn.Dense(1, use_bias=False), "a"),
        },
        outputs="b",
    )
    params = {name: {"kernel": np.ones((1, 1), np.float32)} for name in ("a", "b")}
    optimizer = kd.optim.partial_updates(optax.sgd(1.0), mask=graph.trainable)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert updates["a"]["kernel"] == 0
    assert updates["b"]["kernel"] == -1


def test_functions_and_modules_are_keys_of_the_run():
    trainer = make_trainer(
        train_metrics={"std": kd.metrics.Std(values="interms.relu.__call__[0]")}
    )
    trainer.check()
    keys = trainer.context_specs.flatten()
    for name in ("encoder", "relu", "drop", "head"):
        assert f"interms.{name}.__call__[0]" in keys


def test_key_that_a_batch_lacks_is_told_with_its_field_in_the_config():
    nodes = {"a": kd.nn.Node(nn.Dense(2), "batch.y")}
    model = kd.nn.Graph(nodes=nodes, outputs={"logits": "a"})
    with pytest.raises(KeyError) as e:
        make_trainer(model=model, train_metrics={}).check()
    assert "cfg.model.nodes.a.inputs = 'batch.y'" in str(e.value)
    assert "Did you mean 'batch.x'" in str(e.value)


@pytest.mark.slow
def test_run_that_was_stopped_continues_to_the_same_parameters(tmp_path):
    def train(name, num_steps):
        trainer = make_trainer(
            tmp_path / name,
            num_train_steps=num_steps,
            checkpointer=kd.ckpts.Checkpointer(save_interval_steps=2),
        )
        return trainer.train()[0].params

    whole = train("whole", 4)
    train("parts", 2)
    parts = train("parts", 4)
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    assert set(whole) == {"encoder", "head"}
