"""The scale of the loss over many updates, and at its limits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from kauldron.step import _loss_scale

pytestmark = pytest.mark.usefixtures("quick_compile")


def states_of(is_finite, **options):
    """Returns the state after each update of one parameter, of gradients 1 or infinity."""
    optimizer = kd.train.DynamicLossScale(**options).wrap_optimizer(
        optax.sgd(1.0, momentum=0.5)
    )
    params = {"w": jnp.zeros(2), "v": jnp.zeros(())}
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    states = [(params, state)]
    for finite in is_finite:
        # Only one value of one array overflows.
        grads = {"w": jnp.array([1.0, 1.0 if finite else jnp.inf]), "v": jnp.ones(())}
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        states.append((params, state))
    return states


def scales(states):
    return [float(state.scale) for _, state in states]


def test_scale_grows_after_every_interval_and_not_only_the_first():
    states = states_of([True] * 9, initial=4.0, growth_interval=3)
    assert scales(states) == [4, 4, 4, 8, 8, 8, 16, 16, 16, 32]


def test_an_overflow_starts_the_interval_again():
    finite = [True, True, False, True, True, True, True]
    states = states_of(finite, initial=4.0, growth_interval=3)
    assert scales(states) == [4, 4, 4, 2, 2, 2, 4, 4]
    assert [int(s.num_skipped) for _, s in states] == [0, 0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("bad", [jnp.inf, -jnp.inf, jnp.nan])
def test_whatever_is_not_finite_is_skipped_and_leaves_no_trace(bad):
    optimizer = kd.train.DynamicLossScale().wrap_optimizer(optax.sgd(1.0, momentum=0.5))
    params = {"w": jnp.ones(2), "v": jnp.ones(())}
    state = optimizer.init(params)
    grads = {"w": jnp.array([1.0, bad]), "v": jnp.ones(())}
    updates, after = jax.jit(optimizer.update)(grads, state, params)
    jax.tree.map(lambda u: np.testing.assert_array_equal(u, 0), updates)
    jax.tree.map(np.testing.assert_array_equal, after.inner, state.inner)


def test_momentum_goes_on_after_a_skipped_update():
    (*_, (params, _)) = states_of([True, False, True])
    # Momentum 1, then 0.5 + 1: what was skipped counts for nothing.
    np.testing.assert_allclose(params["w"], -(1 + 1.5))


def test_factors_are_those_that_were_given():
    states = states_of(
        [True, True, False],
        initial=10.0,
        growth_interval=2,
        growth_factor=3.0,
        backoff_factor=0.1,
    )
    np.testing.assert_allclose(scales(states), [10, 10, 30, 3], rtol=1e-6)


def test_scale_stays_within_what_f32_can_multiply():
    grown = states_of([True, True], initial=2.0**99, growth_interval=1)
    assert scales(grown) == [2.0**99, 2.0**100, 2.0**100]
    shrunk = states_of([False, False], initial=2.0**-99)
    assert scales(shrunk) == [2.0**-99, 2.0**-100, 2.0**-100]


@pytest.mark.parametrize(
    ("scale", "expected"), [(2.0, True), (1.0, True), (0.5, False), (0.999, False)]
)
def test_skipped_update_is_an_overflow_of_a_scale_down_to_one(scale, expected):
    (_, before), (_, after) = states_of([False], initial=scale)
    assert bool(_loss_scale.is_overflow(before, after)) is expected
    (_, before), (_, after) = states_of([True], initial=scale)
    assert not _loss_scale.is_overflow(before, after)
    assert _loss_scale.is_overflow({"a": 1}, {"a": 1}) is None


def test_gradients_are_divided_in_f32_and_integers_are_left_alone():
    grads = {
        "half": jnp.full(2, 6e-8, jnp.float16),
        "full": jnp.full(2, 3.0),
        "ids": np.zeros(2, jax.dtypes.float0),
    }
    unscaled = _loss_scale.unscale(grads, jnp.float32(2.0**10))
    assert unscaled["half"].dtype == jnp.float32
    # In fp16 it would be zero; 6e-8 is 2^-24 there.
    np.testing.assert_allclose(unscaled["half"], 2.0**-34)
    np.testing.assert_allclose(unscaled["full"], 3 / 1024)
    assert unscaled["ids"].dtype == jax.dtypes.float0


def test_without_a_word_the_scale_doubles_every_2000_updates_from_two_to_the_15():
    scale = kd.train.DynamicLossScale()
    assert (scale.initial, scale.growth_interval) == (32768.0, 2000)
    assert (scale.growth_factor, scale.backoff_factor) == (2.0, 0.5)


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("initial", 0.0, 1e-6),
        ("growth_interval", 0, 1),
        ("growth_factor", 1.0, 1.001),
        ("backoff_factor", 0.0, 0.001),
        ("backoff_factor", 1.0, 0.999),
    ],
)
def test_values_that_cannot_work_are_refused(name, bad, good):
    kd.train.DynamicLossScale(**{name: good})
    with pytest.raises(_loss_scale.LossScaleError, match=rf"{name}` must be .*{bad}"):
        kd.train.DynamicLossScale(**{name: bad})


def test_scale_is_that_of_the_state_and_there_is_none_without_scaling():
    (_, state), *_ = states_of([], initial=4.0)
    assert _loss_scale.scale_of(state) == 4
    assert _loss_scale.scale_of({"count": jnp.zeros(())}) is None


def train_state(step, opt_state, mean):
    return kd.train.TrainState(
        step=step, params={}, opt_state=opt_state, collections={"mean": mean}
    )


@pytest.mark.parametrize("is_dict", [False, True])
@pytest.mark.parametrize(
    ("is_finite", "mean", "num_skipped"), [(True, 7.0, 0), (False, 3.0, 1)]
)
def test_collections_of_a_skipped_step_stay_and_it_is_counted(
    is_finite, mean, num_skipped, is_dict
):
    (_, before), (_, after) = states_of([is_finite], initial=4.0)
    if is_dict:  # of two optimizers, of which one may skip
        (_, other), (_, next_of_other) = states_of([True], initial=8.0)
        before, after = {"a": other, "b": before}, {"a": next_of_other, "b": after}
    state, context = _loss_scale.after_update(
        train_state(0, before, jnp.float32(3)),
        train_state(1, after, jnp.float32(7)),
        kd.train.Context(
            step=0, batch={}, metric_states={"mine": kd.metrics.AverageState.empty()}
        ),
    )
    assert state.collections["mean"] == mean
    assert state.step == 1
    measured = context.metric_states
    assert set(measured) == {"loss_scale", "skipped_updates", "mine"}
    scale, skipped = measured["loss_scale"], measured["skipped_updates"]
    if is_dict:
        assert (scale["a"].compute(), skipped["a"].compute()) == (8, 0)
        scale, skipped = scale["b"], skipped["b"]
    # The scale of the step itself, not of the next one.
    assert (scale.compute(), skipped.compute()) == (4, num_skipped)
