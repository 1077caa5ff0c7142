"""A step that is held changes nothing; one that is not is the step itself."""

from __future__ import annotations

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from kauldron.step import _held_step, finiteness
from tests.train import small_run


def _momentum_step(state, gradient):
    momentum = 0.9 * state["momentum"] + gradient
    params = state["params"] - 0.1 * momentum
    next_state = {**state, "step": state["step"] + 1, "momentum": momentum}
    next_state |= {"params": params, "average": params, "count": jnp.int32(7)}
    return next_state, ~jnp.isfinite(gradient).all(), {"norm": jnp.sum(params**2)}


def _state():
    return {
        "step": jnp.int32(3),
        "momentum": jnp.array([1.0, -2.0]),
        "params": jnp.array([0.5, 0.25]),
        "average": jnp.array([5.0, 6.0]),  # the same values as `params` afterwards
        "count": jnp.int32(1),  # a constant afterwards
        "constant": jnp.array([9.0]),  # never changed
    }


def _held(step, *args):
    return jax.jit(lambda *args: _held_step.hold_if(step, *args))(*args)


@pytest.fixture(params=["cpu", "gpu"])
def backend(request, monkeypatch):
    """Each way of holding a step; both run on the CPU here."""
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)


@pytest.mark.usefixtures("backend")
def test_step_that_is_not_held_is_the_step_itself():
    expected, _, rest = jax.jit(_momentum_step)(_state(), jnp.array([1.0, 2.0]))
    state, is_held, held_rest = _held(_momentum_step, _state(), jnp.array([1.0, 2.0]))
    assert not is_held
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    np.testing.assert_array_equal(held_rest["norm"], rest["norm"])


@pytest.mark.usefixtures("backend")
def test_held_step_gives_every_value_back():
    gradient = jnp.array([1.0, jnp.nan])
    state, is_held, _ = _held(_momentum_step, _state(), gradient)
    assert is_held
    jax.tree.map(np.testing.assert_array_equal, state, _state())


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("is_held", [True, False])
def test_verdict_on_the_new_state_itself_holds_all_of_it(is_held):
    def step(state, gradient):
        next_state, _, rest = _momentum_step(state, gradient)
        return next_state, next_state["params"][0] < 0.0, rest

    gradient = jnp.array([90.0 if is_held else 1.0, 2.0])
    state, verdict, _ = _held(step, _state(), gradient)
    assert bool(verdict) is is_held
    expected = _state() if is_held else _momentum_step(_state(), gradient)[0]
    jax.tree.map(np.testing.assert_allclose, state, expected)


def test_random_keys_can_be_held():
    def step(state, gradient):
        return jax.random.split(state)[0], gradient > 0, None

    key = jax.random.key(0)
    for gradient, expected in ((1.0, key), (-1.0, jax.random.split(key)[0])):
        state, _, _ = _held(step, key, jnp.float32(gradient))
        assert jnp.all(state == expected)


def test_prints_of_a_step_keep_their_order(capfd):
    def step(state, gradient):
        jax.debug.print("first {}", gradient, ordered=True)
        next_state, is_held, rest = _momentum_step(state, gradient)
        jax.debug.print("second {}", is_held, ordered=True)
        return next_state, is_held, rest

    _held(step, _state(), jnp.array([1.0, 2.0]))
    jax.effects_barrier()
    assert re.findall("first|second", capfd.readouterr().out) == ["first", "second"]


def test_names_of_modules_are_kept_for_profiles():
    def step(state, gradient):
        with jax.named_scope("encoder"), jax.named_scope("dense"):
            return _momentum_step(state, gradient)

    lowered = jax.jit(lambda *args: _held_step.hold_if(step, *args)).lower(
        _state(), jnp.array([1.0, 2.0])
    )
    assert "encoder/dense" in lowered.as_text(debug_info=True)


def test_guarded_step_updates_in_place(tmp_path):
    """No copy of a kernel or its moments, although the old ones may be kept."""
    width = 192
    batch = {"x": np.zeros((8, width), np.float32), "label": np.zeros((8, 1), np.int32)}
    trainer = small_run.make_trainer(
        tmp_path,
        model=kd.nn.Sequential(
            inputs="batch.x",
            outputs="logits",
            layers=[nn.Dense(width), jnp.tanh, nn.Dense(width)],
        ),
        optimizer=optax.adam(1e-3),
    )
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
    state = trainer.trainstep.init(spec)
    compiled = trainer.trainstep._jitted_step.lower(
        state,
        batch,
        jnp.array(False),
        return_losses=False,
        return_metrics=False,
        return_summaries=False,
        checkify_error_categories=frozenset(),
    ).compile()
    kernel = rf"= f32\[{width},{width}\]\S* "
    assert re.search(kernel, compiled.as_text())
    assert not re.search(kernel + r"copy\(", compiled.as_text())


def test_guard_that_meets_nothing_changes_nothing(tmp_path):
    plain, _ = small_run.make_trainer(tmp_path / "a").train()
    guard = kd.train.NanGuard()
    guarded, _ = small_run.make_trainer(tmp_path / "b", nan_guard=guard).train()
    jax.tree.map(np.testing.assert_array_equal, guarded, plain)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
@pytest.mark.parametrize("shape", [(), (5,), (4, 3), (3, 1), (2, 3, 4, 5), (0, 3)])
def test_only_values_that_are_not_finite_are_found(dtype, shape):
    huge = np.full(shape, jnp.finfo(dtype).max, dtype)
    all_finite = jax.jit(finiteness.all_finite)  # one program for all of them
    assert all_finite({"huge": huge, "other": -huge, "int": np.int32(3)})
    for value in (np.nan, np.inf, -np.inf):
        if huge.size:
            bad = huge.copy()
            bad.ravel()[huge.size // 2] = value
            assert not all_finite({"huge": huge, "other": bad, "int": np.int32(3)})


def test_infinities_that_cancel_are_found():
    assert not finiteness.all_finite(jnp.array([[jnp.inf], [-jnp.inf]]))


def test_values_that_are_spread_over_devices_are_found():
    mesh = jax.make_mesh((8,), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.P("data"))
    values = np.zeros((16, 3), np.float32)
    all_finite = jax.jit(finiteness.all_finite)
    assert all_finite(jax.device_put(values, sharding))
    values[13, 1] = np.inf
    assert not all_finite(jax.device_put(values, sharding))
