"""Shapes of outputs and sizes of inputs, found without running anything."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from kauldron import kd
from tests.modules.graph import models


def spec(*shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype)


def graph_of(function):
    """A graph that calls one function of the image."""
    return kd.nn.Graph(nodes={"f": kd.nn.Node(function, "batch.image")}, outputs="f")


def test_output_shapes_of_a_graph_are_by_key():
    batch = {"image": spec(4, 16), "label": spec(4, dtype="int32")}
    shapes = kd.nn.output_shapes(models.two_headed(), batch=batch)
    assert shapes["preds.score"].shape == (4, 1)
    assert shapes["interms.both.__call__[0]"].shape == (4, 8)
    assert shapes["interms.second.__call__[0]"].dtype == jnp.float32
    assert "preds.side" not in shapes
    training = kd.nn.output_shapes(models.two_headed(), batch=batch, is_training=True)
    assert training["preds.side"].shape == (4, 3)


def test_output_shapes_of_any_model():
    shapes = kd.nn.output_shapes(models.HandUnet(2), spec(1, 8, 8, 1))
    assert shapes["interms.bottom.__call__[0]"].shape == (1, 2, 2, 16)
    assert shapes["preds.logits"].shape == (1, 8, 8, 2)


@pytest.mark.parametrize("depth", [1, 3])
def test_unet_needs_a_multiple_of_two_for_each_time_it_halves(depth):
    for model, inputs in (
        (models.unet(depth), {"batch": {"image": spec(1, 8, 16, 1)}}),
        (models.HandUnet(depth), {"image": spec(1, 8, 16, 1)}),
    ):
        assert kd.nn.downsampling_factor(model, **inputs) == (2**depth, 2**depth)


def test_axes_have_factors_of_their_own():
    def windows(x):  # of 6 x 5
        b, h, w, c = x.shape
        return x.reshape(b, h // 6, 6, w // 5, 5, c)

    image = {"image": spec(2, 12, 10, 3)}
    assert kd.nn.downsampling_factor(graph_of(windows), batch=image) == (6, 5)
    assert kd.nn.downsampling_factor(graph_of(windows), batch=image, axes=[2]) == (5,)


def test_downsampling_without_a_way_back_takes_any_size():
    conv = nn.Conv(4, (3, 3), strides=(2, 2))
    image = spec(1, 8, 8, 3)
    assert kd.nn.downsampling_factor(conv, image) == (1, 1)


def test_volumes_and_signals_have_three_factors_and_one():
    def pooled_and_back(x):
        rank = x.ndim - 2
        small = nn.avg_pool(x, (2,) * rank, (2,) * rank)
        for axis in range(1, rank + 1):
            small = small.repeat(2, axis)
        return x + small

    for rank in (1, 3):
        image = {"image": spec(1, *[4] * rank, 2)}
        factors = kd.nn.downsampling_factor(graph_of(pooled_and_back), batch=image)
        assert factors == (2,) * rank


def test_model_of_one_size_has_no_factor():
    # The kernel is of the size that the model was made with.
    model = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(3)])
    assert kd.nn.downsampling_factor(model, spec(1, 8, 8, 3)) == (None, None)


def test_inputs_of_one_size_change_together():
    graph = kd.nn.Graph(
        nodes={"sum": kd.nn.Node(jnp.add, ["batch.image", "batch.noise"])},
        outputs="sum",
    )
    batch = {"image": spec(1, 6, 6, 3), "noise": spec(1, 6, 6, 3)}
    assert kd.nn.downsampling_factor(graph, batch=batch) == (1, 1)


def test_flags_stay_python_values():
    class Flagged(nn.Module):
        @nn.compact
        def __call__(self, x, wide):
            return nn.Dense(8 if wide else 4)(x)

    shapes = kd.nn.output_shapes(Flagged(), spec(2, 3), wide=False)
    assert shapes["preds"].shape == (2, 4)


def test_model_without_spatial_axes_is_refused():
    with pytest.raises(kd.nn.GraphError, match="no spatial axis"):
        kd.nn.downsampling_factor(nn.Dense(3), spec(2, 8))


def test_size_that_does_not_work_is_told_by_the_model():
    with pytest.raises(TypeError, match=r"Cannot concatenate"):
        kd.nn.downsampling_factor(models.HandUnet(2), spec(1, 6, 8, 1))
