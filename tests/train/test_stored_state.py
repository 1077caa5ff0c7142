"""What an optimizer keeps in 16 bits, against closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from kauldron.step import _stored_state

pytestmark = pytest.mark.usefixtures("quick_compile")

SHAPE = (32, 64)
BF16_STATE = kd.train.Precision(opt_state="bfloat16")
BF16_PARAMS = kd.train.Precision(params="bfloat16")


def train(optimizer, grad_of, num_steps, *, precision, value=1.0, dtype="float32"):
    """Returns parameter and state after some updates of one array."""
    optimizer = optax.with_extra_args_support(precision.wrap_optimizer(optimizer))
    params = {"w": jnp.full(SHAPE, value, dtype)}

    @jax.jit
    def run(params, state):
        def update(i, carry):
            params, state = carry
            grads = {"w": jnp.full(SHAPE, grad_of(i), dtype)}
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, num_steps, update, (params, state))

    params, state = run(params, optimizer.init(params))
    return params["w"], state


def mean(x):
    return np.asarray(x, np.float64).mean()


def find(state, name):
    """Returns the arrays of a field, wherever it is in a state."""
    return [
        x
        for path, x in jax.tree_util.tree_leaves_with_path(state)
        if any(getattr(entry, "name", None) == name for entry in path)
    ]


def first_large(i):
    return jnp.where(i == 0, 100.0, 0.01)


OPTIMIZERS = {
    "adam": optax.adam(1e-3),
    "chain": optax.chain(optax.clip(1e3), optax.chain(optax.scale_by_adam())),
    "masked": optax.masked(optax.adam(1e-3), {"w": True}),
    "by_path": kd.optim.by_path({"w": optax.adam(1e-3)}),
    "inject": optax.inject_hyperparams(optax.adamw)(1e-3),
    "amsgrad": optax.amsgrad(1e-3),
    "if_finite": optax.apply_if_finite(optax.adam(1e-3), 3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "precision", [BF16_STATE, BF16_PARAMS], ids=["state", "params"]
)
def test_second_moments_decay(name, precision):
    num_steps = 2001
    dtype = precision.params
    _, state = train(
        OPTIMIZERS[name], first_large, num_steps, precision=precision, dtype=dtype
    )
    (nu,) = find(state, "nu")
    assert nu.dtype == jnp.float32
    small = float(jnp.asarray(0.01, dtype))
    expected = 1e-3 * 100**2 * 0.999**2000 + small**2 * (1 - 0.999**2000)
    np.testing.assert_allclose(mean(nu), expected, rtol=1e-2)  # of 2,000 roundings


@pytest.mark.parametrize("decay", [0.9, 0.99, 0.999])
def test_first_moments_in_bf16_decay_on_average(decay):
    num_steps = round(2 / (1 - decay))
    for optimizer, name, start in [
        (optax.adam(0.0, b1=decay), "mu", 1 - decay),
        (optax.lion(0.0, b2=decay), "mu", 1 - decay),
        (optax.sgd(0.0, momentum=decay), "trace", 1.0),
    ]:
        _, state = train(
            optimizer,
            lambda i: jnp.where(i == 0, 1.0, 0.0),
            num_steps + 1,
            precision=BF16_STATE,
        )
        (moment,) = find(state, name)
        assert moment.dtype == jnp.bfloat16
        # 2,048 values of about 2^-8 x sqrt(number of steps) each.
        np.testing.assert_allclose(mean(moment), start * decay**num_steps, rtol=2e-2)


def test_hyperparameters_and_counters_stay_what_they_are():
    optimizer = optax.inject_hyperparams(optax.adamw)(1e-3, b2=0.999)
    for precision, dtype in [(BF16_STATE, "float32"), (BF16_PARAMS, "bfloat16")]:
        w, state = train(optimizer, lambda i: 0.1, 5, precision=precision, dtype=dtype)
        assert state.hyperparams["b2"].dtype == jnp.float32
        np.testing.assert_allclose(state.hyperparams["b2"], 0.999, rtol=1e-6)
        np.testing.assert_allclose(state.hyperparams["eps"], 1e-8, rtol=1e-6)
        assert state.count == 5
        assert state.count.dtype == jnp.int32
        assert np.isfinite(mean(w))


@pytest.mark.parametrize(
    ("optimizer", "names"),
    [
        (optax.rmsprop(1e-3), ["nu"]),
        (optax.rmsprop(1e-3, centered=True), ["mu", "nu"]),
        (optax.adagrad(1e-3), ["sum_of_squares"]),
        (optax.adadelta(1e-3), ["e_g", "e_x"]),
        (optax.contrib.schedule_free_sgd(1e-3), ["z"]),
        (optax.contrib.ademamix(1e-3), ["m1", "m2", "nu"]),
        (optax.ema(0.999), ["ema"]),
        (kd.optim.ema_params(decay=0.999), ["ema"]),
        (kd.optim.decay_to_init(1e-3), ["init_params"]),
        (optax.MultiSteps(optax.sgd(1e-3), 4).gradient_transformation(), ["acc_grads"]),
    ],
    ids=lambda x: "_".join(x) if isinstance(x, list) else "",
)
def test_what_is_no_first_moment_stays_f32(optimizer, names):
    state = BF16_STATE.wrap_optimizer(optimizer).init({"w": jnp.ones(SHAPE)})
    _, after = train(optimizer, lambda i: 0.1, 2, precision=BF16_STATE)
    for s in (state, after):
        for name in names:
            arrays = find(s, name)
            assert arrays
            assert {x.dtype for x in arrays} == {jnp.dtype("float32")}
        assert jax.tree.structure(s) == jax.tree.structure(after)


def test_momentum_of_muon_is_kept_in_bf16_and_its_adam_has_f32_second_moments():
    optimizer = kd.optim.muon(1e-2, matrices={})
    params = {"kernel": jnp.ones(SHAPE), "bias": jnp.ones(64)}
    wrapped = BF16_STATE.wrap_optimizer(optimizer)
    state = wrapped.init(params)
    _, state = jax.jit(wrapped.update)(params, state, params)
    assert {x.dtype for x in find(state, "mu")} == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in find(state, "nu")} == {jnp.dtype("float32")}


def test_state_has_the_structure_it_has_in_f32_where_updates_are_counted():
    params = {"w": jnp.ones(SHAPE)}
    plain = optax.adam(1e-3).init(params)
    narrow = BF16_STATE.wrap_optimizer(optax.adam(1e-3)).init(params)
    assert jax.tree.structure(narrow) == jax.tree.structure(plain)
    uncounted = BF16_STATE.wrap_optimizer(optax.sgd(1e-3, momentum=0.9)).init(params)
    assert uncounted.count == 0
    nothing = BF16_STATE.wrap_optimizer(optax.rmsprop(1e-3))
    assert jax.tree.structure(nothing.init(params)) == jax.tree.structure(
        optax.rmsprop(1e-3).init(params)
    )


@pytest.mark.parametrize("counted", [False, True])
def test_bf16_parameters_follow_updates_smaller_than_their_last_digit(counted):
    scale = optax.scale_by_schedule(lambda count: 1.0) if counted else optax.identity()
    w, _ = train(
        optax.chain(optax.sgd(1e-3), scale),
        lambda i: 1.0,
        100,
        precision=BF16_PARAMS,
        dtype="bfloat16",
    )
    assert w.dtype == jnp.bfloat16
    # A hundred steps, each of 2^-8 with probability 1e-3 / 2^-8: of 2,048 values, the mean
    # has a standard deviation of 0.0004.
    assert abs(mean(w) - 0.9) < 0.0025
    assert 0.01 < np.asarray(w, np.float64).std() < 0.025


def test_frozen_bf16_parameters_and_zero_updates_keep_every_bit():
    optimizer = kd.optim.partial_updates(optax.adam(1.0), {"a": True, "b": False})
    rng = np.random.default_rng(0)
    params = {
        name: jnp.asarray(rng.normal(size=SHAPE), jnp.bfloat16) for name in ("a", "b")
    }
    wrapped = BF16_PARAMS.wrap_optimizer(optimizer)
    state = wrapped.init(params)
    for _ in range(2):
        updates, state = jax.jit(wrapped.update)(params, state, params)
        after = optax.apply_updates(params, updates)
        np.testing.assert_array_equal(after["b"], params["b"])
        assert (after["a"] != params["a"]).all()


def test_norm_of_bf16_gradients_has_all_of_their_squares():
    # In bf16, where optax would add them up, 256 + 1 is 256.
    params = {f"p{i}": jnp.full((1000,), 0.0, jnp.bfloat16) for i in range(40)}
    grads = jax.tree.map(lambda x: x.at[0].set(1), params)
    grads["p0"] = grads["p0"].at[0].set(16)
    wrapped = BF16_PARAMS.wrap_optimizer(
        optax.chain(optax.clip_by_global_norm(1.0), optax.scale(-1.0))
    )
    # Parameters that are zero take any update that bf16 has, rounded to 8 digits.
    updates, _ = jax.jit(wrapped.update)(grads, wrapped.init(params), params)
    ones = np.mean([x[0] for name, x in updates.items() if name != "p0"])
    np.testing.assert_allclose(ones, -1 / np.sqrt(256 + 39), rtol=2e-3)


def test_random_rounding_is_one_of_both_neighbours_and_right_on_average():
    x = jnp.asarray(np.random.default_rng(0).normal(size=200), jnp.float32)
    x = x.at[:6].set(jnp.array([0.0, -0.0, jnp.inf, -jnp.inf, 1.0, -2.5]))
    num_draws = 2000
    draws = jax.vmap(lambda seed: _stored_state.round_at_random(x, seed))(
        jnp.arange(num_draws, dtype=jnp.uint32) * jnp.uint32(2654435761)
    )
    draws = np.asarray(draws, np.float64)
    exact = np.asarray(x, np.float64)
    assert (draws[:, :6] == exact[:6]).all()
    finite = slice(6, None)
    ulp = 2.0 ** (np.floor(np.log2(np.abs(exact[finite]))) - 7)
    assert (np.abs(draws[:, finite] - exact[finite]) < ulp).all()
    error = (draws[:, finite].mean(0) - exact[finite]) / ulp
    # The mean of 2,000 draws has a standard deviation of at most 0.5 / sqrt(2000) = 0.011.
    assert np.abs(error).max() < 0.05
    assert abs(error.mean()) < 0.003


def test_random_rounding_keeps_nan():
    rounded = _stored_state.round_at_random(jnp.array([jnp.nan]), jnp.uint32(1))
    assert np.isnan(np.asarray(rounded, np.float32)).all()


def test_arrays_and_steps_are_rounded_independently():
    x = jnp.full((64, 64), 1.001)
    seeds = [1, 2]
    first, second = (
        np.asarray(_stored_state.round_at_random(x, jnp.uint32(s)), np.float64) > 1
        for s in seeds
    )
    up = (1.001 - 1) * 2**7
    # 4,096 draws: standard deviation 0.005.
    for part in (first, second, first[0:1], first[:, 0:1]):
        assert abs(part.mean() - up) < 0.3
    assert abs((first & second).mean() - up**2) < 0.02
    assert abs((first[1:] & first[:-1]).mean() - up**2) < 0.02
    assert abs((first[:, 1:] & first[:, :-1]).mean() - up**2) < 0.02


def test_rounding_is_the_same_on_one_device_and_on_eight():
    x = jnp.full((8, 64), 1.001)
    split = jax.device_put(x, kd.sharding.FIRST_DIM)
    round_ = jax.jit(_stored_state.round_at_random)
    np.testing.assert_array_equal(
        round_(x, jnp.uint32(3)), round_(split, jnp.uint32(3))
    )


def test_average_of_bf16_parameters_moves():
    w, state = train(
        optax.chain(optax.sgd(0.0), kd.optim.ema_params(decay=0.999, debias=False)),
        lambda i: 0.0,
        1,
        precision=BF16_PARAMS,
        dtype="bfloat16",
    )
    (ema,) = find(state, "ema")
    assert ema.dtype == jnp.float32
    np.testing.assert_array_equal(np.asarray(ema), np.asarray(w, np.float32))
