"""A graph computes what the same model does that is written by hand."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.modules.graph import models

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(autouse=True)
def free_promotion():
    """Flax's batch norm broadcasts over axes that are not there."""
    with jax.numpy_rank_promotion("allow"):
        yield


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype("float32")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(size=(6, 5)).astype("float32"),
        "label": np.array([1, 2, 3, 1, 0, 9], np.int32),
    }


def test_unet_has_the_parameters_outputs_and_gradients_of_the_module_by_hand(image):
    graph, hand = models.unet(1, 2), models.HandUnet(1, 2)

    @jax.jit
    def run(rng):
        """One program for both, to compile once."""
        results = []
        for init, apply in (
            (
                lambda: graph.init(rng, batch={"image": image}),
                lambda v: graph.apply(v, batch={"image": image}),
            ),
            (lambda: hand.init(rng, image), lambda v: hand.apply(v, image)),
        ):

            def loss(variables, apply=apply):
                preds = apply(variables)
                return jnp.sum(preds["logits"] ** 2), preds

            variables = init()
            results.append((variables, jax.grad(loss, has_aux=True)(variables)))
        return results

    by_graph, by_hand = run(jax.random.key(0))
    same(by_graph, by_hand)
    assert all(np.any(x) for x in jax.tree.leaves(by_graph[1]))


def test_gradients_are_the_same_program_as_by_hand(image):
    graph, hand = models.unet(2), models.HandUnet(2)
    variables = jax.eval_shape(hand.init, jax.random.key(0), image)

    def program(apply):
        return models.program_of(
            jax.grad(lambda v, x: apply(v, x)["logits"].sum()), variables, image
        )

    by_graph = program(lambda v, x: graph.apply(v, batch={"image": x}))
    assert by_graph == program(hand.apply)
    assert by_graph.count("stablehlo.convolution") > 10


@pytest.mark.parametrize("is_training", [True, False])
def test_batch_norm_dropout_sharing_and_freezing_are_as_by_hand(rows, is_training):
    graph, hand = models.two_headed(), models.HandTwoHeaded()

    def step(init, apply):
        def run(rng):
            variables = init({"params": rng, "dropout": rng})
            collections = {"batch_stats": variables["batch_stats"]}

            def loss(params):
                preds, changed = apply(
                    {"params": params, **collections},
                    rngs={"dropout": rng},
                    mutable=["batch_stats"],
                )
                return sum(jnp.sum(x**2) for x in preds.values()), (preds, changed)

            return variables, *jax.grad(loss, has_aux=True)(variables["params"])

        return run

    by_graph = step(
        lambda rng: graph.init(rng, batch=rows),
        lambda v, **kwargs: graph.apply(v, batch=rows, **kwargs),
    )
    by_hand = step(
        lambda rng: hand.init(rng, **rows),
        lambda v, **kwargs: hand.apply(v, **rows, **kwargs),
    )
    rng = jax.random.key(1)
    with kd.nn.set_train_property(is_training):
        assert models.program_of(by_graph, rng) == models.program_of(by_hand, rng)
        variables, grads, (preds, _) = jax.eval_shape(by_graph, rng)
    names = {"block", "embedding", "encoder", "score", "side"}
    assert set(variables["params"]) == set(grads) == names
    assert set(preds) == ({"score", "side"} if is_training else {"score"})


def test_every_nodes_output_is_captured_under_its_name(rows):
    graph = models.two_headed()

    def run():
        with kd.nn.set_train_property(True):
            rngs = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
            variables = graph.init(rngs, batch=rows)
            return graph.apply(
                *(variables,),
                batch=rows,
                rngs=rngs,
                mutable=True,
                capture_intermediates=True,
            )[1]["intermediates"]

    interms = jax.eval_shape(run)
    for name in graph.nodes:
        assert len(interms[name]["__call__"]) == 1, name
    assert interms["both"]["__call__"][0].shape == (6, 8)  # a function
    assert interms["second"]["__call__"][0].shape == (6, 8)  # shared weights
    assert len(interms["block"]["__call__"]) == 2
    methods = {k for k, v in interms.items() if isinstance(v, tuple)}
    assert methods == {"__call__"}


def test_modules_inside_of_modules_are_at_the_paths_of_flax():
    layers = nn.Sequential([nn.Dense(3), nn.relu, nn.Dense(2)])
    graph = kd.nn.Graph(nodes={"net": kd.nn.Node(layers, "batch.x")}, outputs="net")
    x = jnp.ones((1, 4))
    variables = jax.eval_shape(lambda: graph.init(jax.random.key(0), batch={"x": x}))
    params = variables["params"]
    assert set(params["net"]) == {"layers_0", "layers_2"}


def test_a_graph_is_a_part_of_another_module():
    class Outer(nn.Module):
        inner: nn.Module

        @nn.compact
        def __call__(self, x):
            made_here = kd.nn.Graph(
                nodes={"a": kd.nn.Node(nn.Dense(2), "batch.x")},
                outputs="a",
                name="here",
            )
            return self.inner(batch={"x": x}) + made_here(batch={"x": x})

    inner = kd.nn.Graph(
        nodes={"a": kd.nn.Node("m", "batch.x")}, outputs="a", shared={"m": nn.Dense(2)}
    )
    variables = jax.eval_shape(Outer(inner).init, jax.random.key(0), jnp.ones((1, 4)))
    shapes = jax.tree.map(lambda x: x.shape, variables["params"])
    dense = {"kernel": (4, 2), "bias": (2,)}
    assert shapes == {"here": {"a": dense}, "inner": {"m": dense}}


def test_inputs_are_arguments_names_trees_and_parts_of_outputs():
    def split(x):
        return {"low": [x, 2 * x], "high": 10 * x}

    def combine(pair, *, scale):
        return pair[0] + scale["by"]

    graph = kd.nn.Graph(
        nodes={
            "split": kd.nn.Node(split, "batch.x"),
            "sum": kd.nn.Node(jnp.subtract, ["split.high", "split.low[1]"]),
            "last": kd.nn.Node(
                combine, {"pair": ["sum", "step"], "scale": {"by": "batch['a b']"}}
            ),
        },
        outputs={"heads": {"last": "last"}, "parts": ["split.low[0]", "batch.x"]},
    )
    context = {"batch": {"x": 3, "a b": 100}, "step": 7}
    preds = graph.apply({}, **context)
    assert preds == {"heads": {"last": 3 * 10 - 3 * 2 + 100}, "parts": [3, 3]}


def test_only_part_of_an_output_list_runs_in_predictions():
    graph = kd.nn.Graph(
        nodes={
            "a": kd.nn.Node(jnp.negative, "batch.x"),
            "b": kd.nn.Node(jnp.abs, "a", when="train"),
            "c": kd.nn.Node(jnp.exp, "a", when="eval"),
        },
        outputs={"all": ["a", "b", "c"]},
    )
    for is_training, expected in ((True, [-2.0, 2.0]), (False, [-2.0, np.exp(-2.0)])):
        with kd.nn.set_train_property(is_training):
            found = graph.apply({}, batch={"x": jnp.float32(2)})["all"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_trainable_is_a_mask_of_what_every_use_does_not_freeze(rows):
    graph = kd.nn.Graph(
        nodes={
            "a": kd.nn.Node(nn.Dense(2), "batch.image", frozen=True),
            "b": kd.nn.Node("m", "a", frozen=True),
            "c": kd.nn.Node("m", "b"),
            "d": kd.nn.Node("n", "c", frozen=True),
        },
        shared={"m": nn.Dense(2, use_bias=False), "n": nn.Dense(2, use_bias=False)},
        outputs="d",
    )
    params = jax.eval_shape(lambda: graph.init(jax.random.key(0), batch=rows)["params"])
    assert graph.frozen_modules == ("a", "n")
    assert graph.trainable(params) == {
        "a": {"bias": False, "kernel": False},
        "m": {"kernel": True},
        "n": {"kernel": False},
    }
