"""Families of decoders: logits equal those of transformers."""

from __future__ import annotations

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.modules.language import families

_LOGITS = np.load(pathlib.Path(__file__).with_name("logits.npz"))


def _rope(theta=1e4, scaling=None, layout="half"):
    if scaling is not None:
        kind, options = scaling
        scaling = getattr(kd.nn, kind)(**options)
    return kd.nn.Rope(theta=theta, layout=layout, scaling=scaling)


def make(name, **options):
    """Returns the tiny model of a family."""
    arguments = families.arguments(name) | options
    if "rope" in arguments:
        arguments["rope"] = _rope(**arguments["rope"])
    if "mla" in arguments:
        mla = dict(arguments["mla"])
        if "rope" in mla:
            mla["rope"] = _rope(**mla["rope"])
        arguments["mla"] = kd.nn.MLAttention(**mla)
    if "moe" in arguments:
        moe = dict(arguments["moe"])
        moe["routing"] = kd.nn.Routing(**moe["routing"])
        if "shared" in moe:
            moe["shared"] = kd.nn.FeedForward(**moe["shared"])
        arguments["moe"] = kd.nn.MoE(**moe)
    return kd.nn.decoder(name.split("_")[0], **arguments)


def params_of(model, tokens=families.TOKENS):
    """Returns the parameters drawn from their names."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]

    def draw(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        return families.weights(name, leaf.shape)

    return {"params": jax.tree.map_with_path(draw, shapes)}


_FAST = ("gemma3", "gpt2", "deepseek_v3")


@pytest.mark.parametrize(
    "name",
    [
        n if n in _FAST else pytest.param(n, marks=pytest.mark.slow)
        for n in families.FAMILIES
    ],
)
def test_logits_are_those_of_transformers(name):
    model = make(name)
    logits = jax.jit(model.apply)(params_of(model), families.TOKENS)["logits"]
    np.testing.assert_allclose(logits, _LOGITS[name], atol=2e-5)


def test_a_family_that_does_not_exist_is_told_with_the_nearest():
    with pytest.raises(ValueError, match=r"no family 'lama'.*'llama'"):
        kd.nn.decoder("lama", **families.arguments("mistral"))


@pytest.mark.parametrize(
    ("name", "needed", "example"),
    [
        ("gemma2", "window", "`window=4096`"),
        ("gemma3", "window", "`window=4096`"),
        ("gpt2", "max_positions", "`max_positions=1024`"),
        ("mixtral", "moe", r"`moe=kd.nn.MoE\(num_experts=8, hidden_features=1024\)`"),
        ("deepseek", "mla", r"`mla=kd.nn.MLAttention\(num_heads=16, kv_rank=512\)`"),
    ],
)
def test_what_a_family_needs_is_told_with_an_example(name, needed, example):
    arguments = families.arguments("llama") | {"rope": None, needed: None}
    with pytest.raises(ValueError, match=f"'{name}' needs `{needed}`.*{example}"):
        kd.nn.decoder(name, **arguments)


def test_greedy_choice_of_the_seeded_weights_is_not_trivial():
    chosen = {int(x) for name in _LOGITS for x in jnp.argmax(_LOGITS[name], -1).ravel()}
    assert len(chosen) > 20
