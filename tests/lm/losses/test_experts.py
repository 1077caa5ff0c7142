"""Losses and metrics of routers: hand-worked, over layers, in a step with a decoder."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest

from kauldron import kd
from tests.metrics import contract

# Four tokens, two experts, one chosen: three go to expert 0.
PROBS = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], np.float32)
INDEX = np.array([[0], [0], [0], [1]])


def test_balance_of_hand_worked_tokens():
    # Mean probabilities 0.65 and 0.35, loads 0.75 and 0.25.
    expected = 2 * (0.75 * 0.65 + 0.25 * 0.35)
    value = kd.lm.MoELoadBalance(weight=0.01, log_raw=True)
    state = value.get_state(PROBS, INDEX)
    assert float(state.compute()) == pytest.approx(0.01 * expected, rel=1e-6)
    assert float(state.compute_raw()) == pytest.approx(expected, rel=1e-6)


def test_even_routing_has_a_balance_of_one():
    probs, index = np.full((4, 2), 0.5, np.float32), np.array([[0], [1], [0], [1]])
    assert float(kd.lm.MoELoadBalance()(probs=probs, index=index)) == pytest.approx(1)


def test_layers_count_alike_however_they_are_kept():
    even = np.full((4, 2), 0.5, np.float32), np.array([[0], [1], [0], [1]])
    expected = (1 + 2 * (0.75 * 0.65 + 0.25 * 0.35)) / 2
    apart = {"a": even[0], "b": PROBS}, {"a": even[1], "b": INDEX}
    scanned = np.stack([even[0], PROBS]), np.stack([even[1], INDEX])
    for probs, index in (apart, scanned):
        value = kd.lm.MoELoadBalance()(probs=probs, index=index, mask=np.ones(4))
        assert float(value) == pytest.approx(expected, rel=1e-6)


def test_only_probabilities_have_a_gradient():
    grad = jax.grad(lambda p: kd.lm.MoELoadBalance()(probs=p, index=INDEX))(PROBS)
    # Of p: 2 * load / 4; of what is divided by its sum, less the mean along the row.
    loads = np.array([0.75, 0.25])
    expected = 2 * (loads - (PROBS * loads).sum(-1, keepdims=True)) / 4
    np.testing.assert_allclose(grad, expected, rtol=1e-5)


def test_statistics_of_hand_worked_tokens():
    index = np.zeros((4, 1), int)
    state = kd.lm.RouterStatistics().get_state(np.full((4, 2), 0.5), index)
    expected = {"entropy": np.log(2), "dead_experts": 0.5, "imbalance": 2.0}
    assert state.compute() == pytest.approx(expected)


def test_a_model_without_experts_is_told():
    with pytest.raises(ValueError, match="finds no router"):
        kd.lm.MoEZLoss().get_state(logits={})


@pytest.mark.slow
@pytest.mark.parametrize("scan_layers", [False, True])
def test_routers_of_a_decoder_are_found_by_default(scan_layers):
    model = kd.nn.decoder(
        "mixtral",
        vocab_size=16,
        features=8,
        num_layers=2,
        num_heads=2,
        hidden_features=16,
        moe=kd.nn.MoE(num_experts=4, hidden_features=8),
        scan_layers=scan_layers,
        tokens="batch.tokens",
    )
    batch: dict[str, Any] = {"tokens": np.arange(12, dtype=np.int32).reshape(2, 6) % 16}
    batch["loss_mask"] = np.ones((2, 6), np.float32)
    losses = {
        "balance": kd.lm.MoELoadBalance(mask="batch.loss_mask"),
        "z": kd.lm.MoEZLoss(mask="batch.loss_mask"),
    }
    metric = kd.lm.RouterStatistics(mask="batch.loss_mask")

    @functools.partial(jax.jit, compiler_options=contract.COMPILE_FAST)
    def measure():
        params = model.init(jax.random.key(0), batch["tokens"])["params"]
        context = kd.train.Context(step=0, batch=batch, params=params, collections={})
        context = kd.train.forward(context, model=model, rngs={}, is_training=False)
        _, states = kd.losses.compute_losses(losses, context)
        return states, metric.get_state_from_context(context), context.interms

    states, statistics, interms = measure()
    flat = kd.kontext.flatten_with_path(interms)
    logits = np.concatenate(
        [np.asarray(v).reshape(-1, 4) for k, v in flat.items() if "router_logits" in k]
    )
    expected = np.mean(np.log(np.exp(logits).sum(-1)) ** 2)
    assert float(states["z"].compute()) == pytest.approx(expected, rel=1e-5)
    assert 0.9 < float(states["balance"].compute()) < 4
    assert 0 < statistics.compute()["entropy"] <= np.log(4) + 1e-6
