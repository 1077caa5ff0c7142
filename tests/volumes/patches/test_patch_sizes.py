"""Patch sizes chosen by what compiled programs need."""

import functools

import jax
import jax.numpy as jnp
import pytest

from kauldron import kd
from kauldron.modules.patches import tilings


def _network(scale, patches):
    """Needs 8 channels of the patch, apart from what goes in and comes out."""
    wide = jnp.concatenate([patches * i for i in range(1, 9)], axis=-1)
    # A sort is not fused: it needs what it sorts.
    return scale * jnp.sort(wide, axis=-1)[..., :1]


def _bytes(edge):
    patches = jax.ShapeDtypeStruct((1, edge, edge, edge, 1), jnp.float32)
    memory = jax.jit(_network).lower(1.0, patches).compile().memory_analysis()
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
    )


@pytest.fixture(scope="module")
def fn():
    return functools.partial(_network, 1.0)


def test_the_largest_patch_that_fits_is_chosen_and_fits_barely(fn):
    assert _bytes(8) > 8 * 8**3 * 4  # what is between does count
    chosen = kd.volumes.choose_patch_size(
        fn, (24, 20, 40, 1), max_bytes=_bytes(12), multiple=4
    )
    assert chosen == (12, 12, 12)
    less = kd.volumes.choose_patch_size(
        fn, (24, 20, 40, 1), max_bytes=_bytes(12) - 1, multiple=4
    )
    assert less == (8, 8, 8)


def test_patches_are_no_larger_than_the_volume(fn):
    chosen = kd.volumes.choose_patch_size(fn, (3, 9, 8, 1), multiple=4)
    assert chosen == (4, 12, 8)


def test_a_model_that_never_fits_is_told_with_what_it_needs(fn):
    with pytest.raises(tilings.PatchError, match=r"need 10 MiB, and there are 2 MiB"):
        kd.volumes.choose_patch_size(fn, (64, 64, 64, 1), max_bytes=2**21, multiple=64)
