"""Sizes that no model can have are refused, by the name of the field."""

import jax
import jax.numpy as jnp
import pytest

from kauldron import kd

_IMAGE = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)


def _vit(**kwargs):
    encoder = kd.nn.VitEncoder.from_variant_str("mu/4")
    return kd.nn.Vit(encoder=encoder, **kwargs)


def _vit_classifier(**kwargs):
    return kd.nn.VitClassifier.from_variant_str("mu/4", **kwargs)


@pytest.mark.parametrize(
    "make, field, size",
    [
        (lambda **kw: kd.nn.ResNet(stage_sizes=(1,), **kw), "num_classes", 0),
        (
            lambda **kw: kd.nn.ConvNeXt(stage_sizes=(1,), features=(8,), **kw),
            "num_classes",
            -1,
        ),
        (_vit, "num_classes", 0),
        (_vit_classifier, "num_classes", 0),
        (lambda **kw: kd.nn.MlpMixer(**{"num_classes": 3, **kw}), "num_classes", 0),
        (lambda **kw: kd.nn.MlpMixer(num_classes=3, **kw), "features", 0),
        (kd.nn.FeedForward, "hidden_features", 0),
        (lambda **kw: kd.nn.MoE(hidden_features=4, **kw), "num_experts", 0),
        (lambda **kw: kd.nn.MoE(num_experts=4, **kw), "hidden_features", -2),
        (lambda **kw: kd.nn.MLAttention(num_heads=1, **kw), "kv_rank", 0),
        (
            lambda **kw: kd.nn.MLAttention(num_heads=1, kv_rank=4, **kw),
            "query_rank",
            0,
        ),
    ],
)
def test_sizes_below_one_are_refused_when_the_module_is_made(make, field, size):
    with pytest.raises(ValueError, match=rf"\.{field}` must be positive: got {size}\."):
        make(**{field: size})


@pytest.mark.parametrize(
    "module",
    [
        kd.nn.Conv(4, 3),
        kd.nn.ConvTranspose(4, 3),
        kd.nn.ConvBlock(4, 3),
        kd.nn.ResidualBlock(4, 3),
        kd.nn.PatchDiscriminator(kernel_size=4),
        kd.nn.UNet(num_classes=2, kernel_size=3),
        kd.nn.UNetPlusPlus(num_classes=2, kernel_size=3),
        kd.nn.ResidualUNet(num_classes=2, kernel_size=3),
    ],
    ids=lambda module: type(module).__name__,
)
def test_a_kernel_of_one_number_is_refused_since_it_says_not_how_many_axes(module):
    with pytest.raises(ValueError, match=r"`kernel_size` needs one size for each"):
        jax.eval_shape(module.init, jax.random.key(0), _IMAGE)


@pytest.mark.parametrize(
    "module",
    [
        kd.nn.ResidualBlock(4, (2, 2)),
        kd.nn.UNet(num_classes=2, kernel_size=(4, 3)),
        kd.nn.ResidualUNet(num_classes=2, kernel_size=(3, 2)),
    ],
    ids=lambda module: type(module).__name__,
)
def test_even_kernels_are_refused_where_sizes_are_kept(module):
    with pytest.raises(ValueError, match=r"`kernel_size` must be odd"):
        jax.eval_shape(module.init, jax.random.key(0), _IMAGE)


def test_an_even_kernel_of_a_single_convolution_is_allowed():
    module = kd.nn.ConvBlock(4, (2, 2), strides=2)
    shape = jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x)[0], _IMAGE
    )
    assert shape.shape == (1, 8, 8, 4)
