"""ConvNeXt."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import modules
from tests.modules import contract

_SMALL = {
    "stage_sizes": (1, 1),
    "features": (4, 8),
    "num_classes": 3,
    "patch_size": 2,
    "layer_scale": 0.5,
    "image": "x",
}


@contract.parametrize(
    [
        contract.Block(
            name="classifier",
            make=lambda: modules.ConvNeXt(**_SMALL),
            inputs=((8, 8, 3),),
            output=(3,),
            pick=lambda y: y["logits"],
        ),
    ]
)
@pytest.mark.slow
def test_contract(block):
    contract.check(block)


@pytest.mark.parametrize(
    ("variant", "num_params"),
    # As torchvision counts them for 1,000 classes.
    [
        ("ConvNeXt-T", 28_589_128),
        pytest.param("ConvNeXt-S", 50_223_688, marks=pytest.mark.slow),
        pytest.param("ConvNeXt-B", 88_591_464, marks=pytest.mark.slow),
    ],
)
def test_variants_have_as_many_parameters_as_published(variant, num_params):
    model = modules.ConvNeXt.from_variant_str(variant, image="x")
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    with modules.set_train_property(False):
        variables = jax.eval_shape(model.init, jax.random.key(0), image)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == num_params


@pytest.mark.slow
def test_skipped_blocks_keep_the_mean_of_the_result():
    model = modules.ConvNeXt(
        **{**_SMALL, "stage_sizes": (2,), "num_classes": None, "drop_path_rate": 0.4}
    )
    x = np.random.default_rng(0).standard_normal((1, 4, 4, 3), dtype=np.float32)
    x = np.repeat(x, 500, axis=0)

    @jax.jit
    def run(rng, x):
        with modules.set_train_property(False):
            whole, variables = model.init_with_output(rng, x[:1])
        with modules.set_train_property(True):
            return model.apply(variables, x, rngs={"dropout": rng}), whole

    features, whole = (y["features"] for y in run(jax.random.key(0), x))
    # Of the two blocks, the first has rate 0: each example has one of two values.
    values, counts = np.unique(
        np.asarray(features).reshape(500, -1).round(4), axis=0, return_counts=True
    )
    assert len(values) == 2
    # 200 of 500 are skipped: standard deviation sqrt(500 * .4 * .6) = 11
    assert abs(min(counts) - 200) < 44
    mean = (values[0] * 200 + values[1] * 300) / 500
    if counts[0] > counts[1]:
        mean = (values[0] * 300 + values[1] * 200) / 500
    np.testing.assert_allclose(mean, np.ravel(whole), atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"features": (4,)}, "`features` has a width for each stage.*2 stages"),
        ({"drop_path_rate": 1.0}, r"`drop_path_rate` is in \[0, 1\): got 1.0"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        modules.ConvNeXt(**{**_SMALL, **fields})


def test_misspelt_variant_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'ConvNeXt-T'"):
        modules.ConvNeXt.from_variant_str("ConvNext-T", image="x")


def test_images_that_patches_do_not_fill_are_refused():
    model = modules.ConvNeXt(**_SMALL)
    with (
        pytest.raises(ValueError, match=r"must be multiples of 4.*got 6 x 8"),
        modules.set_train_property(False),
    ):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 6, 8, 3)))
