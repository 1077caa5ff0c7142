"""Residual networks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from kauldron import modules
from tests.modules import contract

_SMALL = {"stage_sizes": (1, 1), "features": (4, 8), "num_classes": 3, "image": "x"}


@contract.parametrize(
    [
        contract.Block(
            name="basic",
            make=lambda: modules.ResNet(**_SMALL),
            inputs=((16, 16, 3),),
            output=(3,),
            pick=lambda y: y["logits"],
        ),
    ]
)
@pytest.mark.slow
def test_contract(block):
    contract.check(block)


def _shapes(model, size=64):
    image = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    with modules.set_train_property(False):
        return jax.eval_shape(model.init_with_output, jax.random.key(0), image)


@pytest.mark.parametrize(
    ("variant", "num_params"),
    # As torchvision counts them for 1,000 classes.
    [
        ("ResNet-18", 11_689_512),
        pytest.param("ResNet-34", 21_797_672, marks=pytest.mark.slow),
        ("ResNet-50", 25_557_032),
        pytest.param("ResNet-101", 44_549_160, marks=pytest.mark.slow),
        pytest.param("ResNet-152", 60_192_808, marks=pytest.mark.slow),
    ],
)
def test_variants_have_as_many_parameters_as_published(variant, num_params):
    model = modules.ResNet.from_variant_str(variant, image="x")
    _, variables = _shapes(model)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == num_params


@pytest.mark.parametrize(("stem", "side"), [("large", 2), ("small", 8)])
def test_feature_map_without_classes(stem, side):
    model = modules.ResNet.from_variant_str(
        "ResNet-18", num_classes=None, stem=stem, image="x"
    )
    out, _ = _shapes(model)
    assert out["features"].shape == (2, side, side, 512)


def test_misspelt_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"no 'ResNet18'.*Did you mean 'ResNet-18'"):
        modules.ResNet.from_variant_str("ResNet18", image="x")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"block": "botleneck"}, "`block` is one of.*Did you mean 'bottleneck'"),
        ({"stem": "smal"}, "`stem` is one of.*Did you mean 'small'"),
        ({"features": (4,)}, "`features` has a width for each stage.*2 stages"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        modules.ResNet(**{**_SMALL, **fields})
