"""Keys folded by name."""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import random


def test_fold_in_str_folds_the_first_four_bytes_of_the_sha1():
    digest = hashlib.sha1(b"dropout").digest()
    expected = jax.random.fold_in(
        jax.random.PRNGKey(3), np.uint32(int.from_bytes(digest[:4], "big"))
    )
    key = random.fold_in_str(jax.random.PRNGKey(3), "dropout")
    np.testing.assert_array_equal(key, expected)


def test_random_seed_fits_numpy():
    seed = random.random_seed(jax.random.PRNGKey(0))
    assert isinstance(seed, int)
    assert 0 <= seed < 2**32


def test_seeds_of_many_keys_are_all_different():
    keys = jax.random.split(jax.random.PRNGKey(0), 5000)
    seeds = [random.random_seed(key) for key in keys]
    # Two of 5,000 numbers of 32 bits are equal with a probability of 0.3 %.
    assert len(set(seeds)) == len(seeds)
    assert max(seeds) > 0.99 * 2**32


def test_wrapper_methods_are_the_functions_of_jax_random():
    key = random.PRNGKey(7)
    np.testing.assert_array_equal(
        key.uniform((3,)), jax.random.uniform(jax.random.PRNGKey(7), (3,))
    )
    a, b = key.split()
    np.testing.assert_array_equal(
        np.stack([a.rng, b.rng]), jax.random.split(jax.random.PRNGKey(7))
    )
    np.testing.assert_array_equal(
        key.fold_in("x").rng, random.fold_in_str(jax.random.PRNGKey(7), "x")
    )


def test_wrapper_is_idempotent_and_crosses_jit():
    key = random.PRNGKey(random.PRNGKey(7))
    assert jax.jit(lambda k: k.uniform())(key) == key.uniform()


def test_wrapper_takes_typed_keys():
    key = random.PRNGKey(jax.random.key(7))
    assert key.uniform() == jax.random.uniform(jax.random.key(7))
    assert 0 <= key.as_seed() < 2**32


def test_wrapper_of_nothing_is_that_of_seed_0():
    np.testing.assert_array_equal(random.PRNGKey().rng, jax.random.PRNGKey(0))


@pytest.mark.parametrize("seed", [5, np.uint32(5), jnp.uint32(5), np.int64(5)])
def test_numbers_of_any_dtype_are_seeds(seed):
    np.testing.assert_array_equal(random.PRNGKey(seed).rng, jax.random.PRNGKey(5))


def test_what_is_no_key_and_no_seed_is_refused():
    with pytest.raises(TypeError, match="scalar"):
        random.PRNGKey(np.zeros(2, np.int32))


def test_next_key_is_the_only_one_of_a_split():
    key = random.PRNGKey(7)
    (expected,) = jax.random.split(jax.random.PRNGKey(7), 1)
    np.testing.assert_array_equal(key.next().rng, expected)


def test_wrapper_has_the_functions_of_jax_random_alone():
    key = random.PRNGKey(7)
    # A module has a name and a path, too: a key has none.
    for name in ("unifrom", "_uniform", "__jax_array__", "__name__", "__path__"):
        with pytest.raises(AttributeError, match=f"PRNGKey has no attribute '{name}'"):
            getattr(key, name)
