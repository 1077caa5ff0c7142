"""Masks by path, averages of parameters, decay to the start."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd, optim
from kauldron.sharding import TrainState
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")


def _params():
    return {
        "encoder": {
            "lora": {"kernel": jnp.ones(2)},
            "notlora": {"kernel": jnp.ones(3)},
        },
        "head": {"kernel": jnp.ones(4), "bias": jnp.ones(1)},
    }


@pytest.mark.parametrize(
    ("pattern", "selected"),
    [
        ("lora", {"encoder.lora.kernel"}),
        ("head", {"head.kernel", "head.bias"}),
        ("head.bias", {"head.bias"}),
        ("kernel", {"encoder.lora.kernel", "encoder.notlora.kernel", "head.kernel"}),
        (["lora", "bias"], {"encoder.lora.kernel", "head.bias"}),
        (r".*lora", {"encoder.lora.kernel", "encoder.notlora.kernel"}),
        (r"encoder\.(lora|x)", {"encoder.lora.kernel"}),
        # The end of a component, too: `lor` is no part of `lora`, nor `ker` of `kernel`.
        (r"(head|lor|ker)", {"head.kernel", "head.bias"}),
    ],
)
def test_patterns_match_whole_components(pattern, selected):
    def names(mask):
        leaves = jax.tree_util.tree_leaves_with_path(mask)
        return {
            jax.tree_util.keystr(path, simple=True, separator=".")
            for path, on in leaves
            if on
        }

    everything = names(jax.tree.map(lambda _: True, _params()))
    assert names(optim.select(pattern)(_params())) == selected
    assert names(optim.exclude(pattern)(_params())) == everything - selected


def test_pattern_that_matches_nothing_suggests_near_names():
    with pytest.raises(
        ValueError, match=r"'haed' matches no parameter. Near: \['head'"
    ):
        optim.select("haed")(_params())


def test_frozen_parameters_stay_bit_identical(tmp_path):
    optimizer = optim.partial_updates(optax.adam(0.1), optim.select("layers_3"))
    trainer = small_run.make_trainer(tmp_path, optimizer=optimizer, log_metrics_every=1)
    before = jax.device_get(trainer.init_state().params)
    state, _ = trainer.train()
    np.testing.assert_array_equal(
        before["layers_0"]["kernel"], state.params["layers_0"]["kernel"]
    )
    assert np.all(before["layers_3"]["kernel"] != state.params["layers_3"]["kernel"])
    # Two moments of the trained kernel and bias, and nothing of the frozen ones.
    moments = [x for x in jax.tree.leaves(state.opt_state) if x.ndim]
    assert sum(x.size for x in moments) == 2 * (8 * 2 + 2)


def test_named_chain_equals_the_chain_and_names_its_state():
    named = optim.named_chain(clip=optax.clip(0.5), sgd=optax.sgd(0.1))
    plain = optax.chain(optax.clip(0.5), optax.sgd(0.1))
    grads = {"w": jnp.array([1.0, -0.2])}
    state = named.init(grads)
    assert set(state) == {"clip", "sgd"}
    a, _ = named.update(grads, state)
    b, _ = plain.update(grads, plain.init(grads))
    np.testing.assert_array_equal(a["w"], b["w"])


@pytest.mark.parametrize("debias", [True, False])
def test_average_follows_the_recurrence(debias):
    decay = 0.9
    optimizer = optim.named_chain(
        sgd=optax.sgd(1.0), ema=optim.ema_params(decay=decay, debias=debias)
    )
    params = {"w": jnp.array([2.0])}
    state = optimizer.init(params)
    expected = w = 2.0
    for t in range(5):
        updates, state = optimizer.update({"w": jnp.array([0.5])}, state, params)
        params = optax.apply_updates(params, updates)
        w -= 0.5
        weight = min(decay, (1 + t) / (10 + t)) if debias else decay
        expected = weight * expected + (1 - weight) * w
    np.testing.assert_allclose(params["w"], w)
    np.testing.assert_allclose(state["ema"].ema["w"], expected, rtol=1e-6)


def test_average_can_be_evaluated_beside_the_parameters(tmp_path):
    optimizer = optim.named_chain(
        adam=optax.adam(0.1), ema=optim.ema_params(decay=0.5, debias=False)
    )
    trainer = small_run.make_trainer(
        tmp_path,
        optimizer=optimizer,
        log_metrics_every=1,
        evals={
            "ema": kd.evals.Evaluator(
                run=kd.evals.Final(), init_transform=optim.UseEmaParams()
            )
        },
    )
    state, _ = trainer.train()
    swapped = optim.UseEmaParams().transform(state)
    jax.tree.map(
        np.testing.assert_array_equal, swapped.params, state.opt_state["ema"].ema
    )
    averaged = trainer.evals.ema.evaluate(state, 10).compute().loss_values
    plain = trainer.evals.ema.replace(init_transform=kd.ckpts.NoopTransform())
    assert averaged != plain.evaluate(state, 10).compute().loss_values


def test_missing_and_ambiguous_averages_are_told():
    params = {"w": jnp.ones(2)}

    def state(*transforms):
        return TrainState(
            step=0, params=params, opt_state=optax.chain(*transforms).init(params)
        )

    with pytest.raises(ValueError, match="holds 0 averages"):
        optim.UseEmaParams().transform(state(optax.sgd(0.1)))
    ema = optim.ema_params(decay=0.9)
    with pytest.raises(ValueError, match="holds 2 averages"):
        optim.UseEmaParams().transform(state(ema, ema))
    masked = optax.masked(ema, {"w": False})
    with pytest.raises(KeyError, match=r"no average of \['w'\]"):
        optim.UseEmaParams().transform(state(masked))
    kept = optim.UseEmaParams(partial_ok=True).transform(state(masked))
    np.testing.assert_array_equal(kept.params["w"], params["w"])


def test_decay_pulls_to_the_initial_parameters():
    optimizer = optax.chain(
        optim.decay_to_init(0.5, mask=optim.select("a")), optax.sgd(1.0)
    )
    start = {"a": jnp.array([1.0]), "b": jnp.array([1.0])}
    state = optimizer.init(start)
    moved = {"a": jnp.array([3.0]), "b": jnp.array([3.0])}
    zero = jax.tree.map(jnp.zeros_like, start)
    updates, _ = optimizer.update(zero, state, moved)
    np.testing.assert_allclose(updates["a"], [-0.5 * (3 - 1)])
    np.testing.assert_allclose(updates["b"], [0.0])


def test_decay_must_be_a_fraction():
    with pytest.raises(ValueError, match=r"in \[0, 1\): got 1"):
        optim.ema_params(decay=1)


def test_average_must_be_the_last_of_a_chain():
    with pytest.raises(ValueError, match=r"`ema=.*must be the last of the chain"):
        optim.named_chain(ema=optim.ema_params(decay=0.9), sgd=optax.sgd(0.1))


@pytest.mark.parametrize("dtype", [None, jnp.float32])
def test_average_of_low_precision_parameters_is_precise(dtype):
    """In bf16 the average of 256 and 258 would be stuck at 256."""
    optimizer = optim.ema_params(decay=0.9, debias=False, accumulator_dtype=dtype)
    params = {"w": jnp.full(2, 256, jnp.bfloat16)}
    state = optimizer.init(params)
    _, state = optimizer.update({"w": jnp.full(2, 2, jnp.bfloat16)}, state, params)
    assert state.ema["w"].dtype == jnp.float32
    np.testing.assert_allclose(state.ema["w"], 0.9 * 256 + 0.1 * 258, rtol=1e-6)
    train_state = TrainState(step=0, params=params, opt_state=state)
    swapped = optim.UseEmaParams().transform(train_state)
    assert swapped.params["w"].dtype == jnp.bfloat16


def test_average_is_kept_in_the_dtype_that_is_given_and_no_integer_is_averaged():
    optimizer = optim.ema_params(
        decay=0.5, debias=False, accumulator_dtype=jnp.bfloat16
    )
    params = {"w": jnp.full(2, 4.0), "count": jnp.array([3])}
    state = optimizer.init(params)
    updates = {"w": jnp.full(2, 2.0), "count": jnp.array([4])}
    _, state = optimizer.update(updates, state, params)
    assert {k: x.dtype for k, x in state.ema.items()} == {
        "w": jnp.bfloat16,
        "count": jnp.int32,
    }
    np.testing.assert_array_equal(state.ema["w"], 5)
    np.testing.assert_array_equal(state.ema["count"], 7)  # the last one
    assert state.count == 1


def test_average_of_a_part_replaces_that_part():
    optimizer = optim.by_path(
        {
            "head": optax.sgd(1.0),
            "**": optax.chain(optax.sgd(1.0), optim.ema_params(decay=0.5)),
        }
    )
    params = _params()
    state = optimizer.init(params)
    updates, state = optimizer.update(
        jax.tree.map(jnp.ones_like, params), state, params
    )
    new = optax.apply_updates(params, updates)
    train_state = TrainState(step=1, params=new, opt_state=state)
    with pytest.raises(KeyError, match=r"no average of \['head.bias', 'head.kernel'\]"):
        optim.UseEmaParams().transform(train_state)
    swapped = optim.UseEmaParams(partial_ok=True).transform(train_state).params
    np.testing.assert_array_equal(swapped["head"]["kernel"], new["head"]["kernel"])
    # The weight of the old one is (1 + 0) / (10 + 0) at first: 0.1 * 1 + 0.9 * 0.
    np.testing.assert_allclose(swapped["encoder"]["lora"]["kernel"], 0.1, rtol=1e-6)
