"""Vision transformers with a linear classifier; their numbers: checkpoints' tests."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from kauldron import modules
from tests.modules import contract

_SMALL = {
    "num_heads": 2,
    "hidden_size": 8,
    "num_layers": 1,
    "patch_size": 4,
    "num_classes": 3,
    "image": "x",
}


@contract.parametrize(
    [
        contract.Block(
            name="class token",
            make=lambda: modules.VitClassifier.from_spec(**_SMALL),
            inputs=((8, 8, 3),),
            output=(3,),
            pick=lambda y: y["logits"],
            without_gradient="key.bias",
        ),
    ]
)
@pytest.mark.slow
def test_contract(block):
    contract.check(block)


@pytest.mark.parametrize(
    ("variant", "num_params", "hidden_size"),
    # As timm counts them for 1,000 classes and 224 x 224 pixels.
    [
        ("ViT-B/32", 88_224_232, 768),
        pytest.param("ViT-Ti/16", 5_717_416, 192, marks=pytest.mark.slow),
    ],
)
def test_variants_have_as_many_parameters_as_published(
    variant, num_params, hidden_size
):
    model = modules.VitClassifier.from_variant_str(variant, image="x")
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    found = sum(x.size for x in jax.tree.leaves(variables["params"]))
    assert found == num_params - hidden_size  # the position of the class token


def test_pooling_without_class_token_is_refused():
    encoder = modules.VitEncoder.from_variant_str("Ti/16", image="x")
    with pytest.raises(ValueError, match="a token that the encoder does not have"):
        modules.VitClassifier(encoder=encoder, image="x")


def test_misspelt_pooling_names_the_nearest():
    with pytest.raises(ValueError, match=r"no pooling 'maen'.*Did you mean 'mean'"):
        modules.VitClassifier.from_spec(**_SMALL, pooling="maen")
