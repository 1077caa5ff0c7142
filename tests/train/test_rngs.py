"""Random streams: which keys there are, and that they differ where they must."""

from __future__ import annotations

import hashlib
import itertools

import jax
import numpy as np
import pytest

from kauldron.step import rngs_lib


def streams(*given, seed=0):
    return rngs_lib.RngStreams(given, seed=seed)


def numbers(key):
    return tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())


def name_of(text):
    digest = hashlib.sha1(text.encode()).digest()
    return np.uint32(int.from_bytes(digest[:4], "big"))


def test_key_of_a_step_is_the_seed_folded_by_name_step_and_phase():
    key = jax.random.PRNGKey(7)
    for data in (name_of("dropout"), 12, name_of("train")):
        key = jax.random.fold_in(key, data)
    given = streams(seed=7).train_rngs(12)["dropout"]
    np.testing.assert_array_equal(given, key)


def test_no_two_keys_are_the_same():
    keys = {}
    for seed, step in itertools.product((0, 1), range(3)):
        given = streams(rngs_lib.RngStream("mine", eval=True), seed=seed)
        for phase in ("train", "eval"):
            for name, key in getattr(given, f"{phase}_rngs")(step).items():
                keys[seed, step, phase, name] = numbers(key)
        if step == 0:
            for name, key in given.init_rngs().items():
                keys[seed, "init", name] = numbers(key)
    assert len(set(keys.values())) == len(keys) == 2 * (3 * (3 + 1) + 4)


def test_streams_exist_in_the_phases_they_are_for():
    given = streams(
        rngs_lib.RngStream("a", init=False, train=False, eval=True),
        rngs_lib.RngStream("b", init=True, train=False),
    )
    assert set(given.init_rngs()) == {"params", "dropout", "default", "b"}
    assert set(given.train_rngs(0)) == {"dropout", "default"}
    assert set(given.eval_rngs(0)) == {"a"}


def test_stream_with_the_name_of_a_default_replaces_it():
    given = streams(rngs_lib.RngStream("dropout", init=False, eval=True))
    assert "dropout" not in given.init_rngs()
    assert "dropout" in given.eval_rngs(0)


def test_more_streams_change_no_other_stream():
    plain, more = streams(), streams(rngs_lib.RngStream("mine"))
    for name, key in plain.train_rngs(3).items():
        np.testing.assert_array_equal(key, more.train_rngs(3)[name])


@pytest.mark.parametrize("per_step", [True, False])
def test_stream_that_is_not_per_step_has_one_key(per_step):
    given = streams(rngs_lib.RngStream("mine", per_step=per_step))
    first, second = (numbers(given.train_rngs(step)["mine"]) for step in (0, 1))
    assert (first != second) is per_step


def test_traced_step_gives_the_key_of_the_number():
    traced = jax.jit(lambda step: streams().train_rngs(step)["dropout"])(5)
    np.testing.assert_array_equal(traced, streams().train_rngs(5)["dropout"])


def test_parameters_are_drawn_from_the_seed_and_the_names_alone():
    plain = jax.random.fold_in(jax.random.PRNGKey(7), name_of("params"))
    keys = streams(seed=7).init_rngs()
    np.testing.assert_array_equal(
        keys["params"], jax.random.fold_in(plain, name_of("init"))
    )
    # Those of steps are those of step 0.
    key = jax.random.PRNGKey(7)
    for data in (name_of("dropout"), 0, name_of("init")):
        key = jax.random.fold_in(key, data)
    np.testing.assert_array_equal(keys["dropout"], key)


def test_streams_have_two_names_of_which_one_is_given():
    mine = (rngs_lib.RngStream("mine"),)
    for given in ({"streams": mine}, {"stream_overwrites": mine}):
        assert "mine" in rngs_lib.RngStreams(**given, seed=0).train_rngs(0)
    with pytest.raises(ValueError, match="two names of one field"):
        rngs_lib.RngStreams(streams=mine, stream_overwrites=mine, seed=0)
