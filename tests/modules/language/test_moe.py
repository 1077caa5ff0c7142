"""Experts: equal to computing all of them, for every way of routing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd

_ROUTINGS = {
    "softmax": kd.nn.Routing(),
    "not_normalized": kd.nn.Routing(num_selected=3, is_normalized=False, scale=1.5),
    "sigmoid_with_bias": kd.nn.Routing(scores="sigmoid", has_bias=True, scale=2.5),
    "groups": kd.nn.Routing(num_groups=4, num_selected_groups=2),
    "best_two_of_groups": kd.nn.Routing(
        num_selected=3,
        scores="sigmoid",
        num_groups=2,
        group_score="best_two",
        has_bias=True,
    ),
}


def _chosen(routing, logits, bias):
    """The experts of one token and their weights, by sorting."""
    if routing.scores == "softmax":
        probs = np.exp(logits) / np.exp(logits).sum()
    else:
        probs = 1 / (1 + np.exp(-logits))
    merit = probs + bias
    size = len(merit) // routing.num_groups
    groups = [list(range(g * size, (g + 1) * size)) for g in range(routing.num_groups)]
    num_best = 1 if routing.group_score == "best" else 2
    groups.sort(key=lambda group: -sum(sorted(merit[group])[-num_best:]))
    allowed = [e for group in groups[: routing.num_selected_groups] for e in group]
    chosen = sorted(allowed, key=lambda e: -merit[e])[: routing.num_selected]
    weights = probs[chosen]
    if routing.is_normalized:
        weights = weights / weights.sum()
    return chosen, weights * routing.scale


def _by_hand(params, x, routing):
    out = np.zeros_like(x)
    bias = params.get("selection_bias", 0.0)
    for i, token in enumerate(x):
        chosen, weights = _chosen(routing, token @ params["router"], bias)
        for expert, weight in zip(chosen, weights, strict=True):
            gate, up = (token @ params[name][expert] for name in ("gate", "up"))
            hidden = gate / (1 + np.exp(-gate)) * up
            out[i] += weight * (hidden @ params["down"][expert])
    return out


_FAST = ("softmax", "best_two_of_groups")


@pytest.mark.parametrize(
    "name",
    [n if n in _FAST else pytest.param(n, marks=pytest.mark.slow) for n in _ROUTINGS],
)
def test_experts_are_those_of_a_loop_over_tokens(name):
    rng = np.random.default_rng(0)
    model = kd.nn.MoE(num_experts=8, hidden_features=5, routing=_ROUTINGS[name])
    x = rng.standard_normal((2, 7, 6))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.float32(x))["params"]
    params = {k: rng.standard_normal(v.shape) for k, v in shapes.items()}
    single = jax.tree.map(jnp.float32, params)
    y = jax.jit(model.apply)({"params": single}, jnp.float32(x))
    expected = _by_hand(params, x.reshape(14, 6), _ROUTINGS[name])
    np.testing.assert_allclose(y.reshape(14, 6), expected, rtol=1e-4, atol=1e-5)


def _all_experts(params, x):
    """Every expert for every token, times its weight or 0."""
    probs = jax.nn.softmax(x @ params["router"])
    best, index = jax.lax.top_k(probs, 2)
    weights = jax.nn.one_hot(index, 4) * (best / best.sum(-1, keepdims=True))[..., None]
    inner = jax.nn.silu(jnp.einsum("nd,edh->neh", x, params["gate"]))
    inner *= jnp.einsum("nd,edh->neh", x, params["up"])
    results = jnp.einsum("neh,ehd->ned", inner, params["down"])
    return jnp.einsum("ned,nke->nd", results, weights)


@pytest.mark.slow
def test_gradients_are_those_of_computing_all_experts():
    model = kd.nn.MoE(
        num_experts=4, hidden_features=5, kernel_init=jax.nn.initializers.normal(1.0)
    )
    x = jax.random.normal(jax.random.key(1), (9, 6))
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    loss = lambda run: lambda p, x: jnp.sum(jnp.sin(run(p, x)))  # noqa: E731
    ours = loss(lambda p, x: model.apply({"params": p}, x))
    grads, expected = jax.jit(
        lambda p, x: [jax.grad(f, (0, 1))(p, x) for f in (ours, loss(_all_experts))]
    )(params, x)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        grads,
        expected,
    )


@pytest.mark.slow
def test_all_tokens_may_go_to_one_expert():
    routing = kd.nn.Routing(num_selected=1, has_bias=True)
    model = kd.nn.MoE(num_experts=3, hidden_features=4, routing=routing)
    x = jnp.ones((50, 4)) * jnp.arange(1, 51)[:, None]
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    params["selection_bias"] = jnp.array([0.0, 9.0, 0.0])
    run = jax.jit(lambda p: model.apply({"params": p}, x, mutable="intermediates"))
    y, kept = run(params)
    assert set(np.ravel(kept["intermediates"]["router_index"])) == {1}
    assert np.all(np.any(y != 0, axis=-1)), "a token was dropped"


def test_the_choice_and_scores_of_the_router_are_kept():
    model = kd.nn.MoE(num_experts=3, hidden_features=4)
    x = jnp.ones((2, 5, 4))
    kept = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), x, mutable=True)[1]
    )
    shapes = {k: v[0].shape for k, v in kept["intermediates"].items()}
    assert shapes == {
        "router_logits": (2, 5, 3),
        "router_probs": (2, 5, 3),
        "router_index": (2, 5, 2),
    }
