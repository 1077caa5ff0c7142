"""How often the key that was meant comes first, over many generated typos."""

import random
import string

import jax
import jax.numpy as jnp
import pytest

from kauldron import kontext


def _leaf(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def _block():
    return {
        name: {"kernel": _leaf(8, 8), "bias": _leaf(8)}
        for name in ("query", "key", "value", "out")
    }


_PARAMS = {
    "encoder": {
        f"layer_{i}": {"attention": _block(), "mlp": _block()} for i in range(4)
    },
    "decoder": {"Dense_0": {"kernel": _leaf(8, 3), "bias": _leaf(3)}},
}

CONTEXT = {
    "step": _leaf(dtype=jnp.int32),
    "batch": {
        "image": _leaf(32, 28, 28, 1),
        "image_id": _leaf(32, 1, dtype=jnp.int32),
        "label": _leaf(32, 1, dtype=jnp.int32),
        "mask": _leaf(32, 1, dtype=jnp.bool_),
        "meta": {"patient": _leaf(32), "spacing": _leaf(32, 3)},
    },
    "preds": {"image": _leaf(32, 28, 28, 1), "logits": _leaf(32, 10)},
    "interms": {
        "encoder": {"__call__": (_leaf(32, 8),), "layer_0": {"__call__": (_leaf(8),)}},
        "decoder": {"__call__": (_leaf(32, 3),)},
    },
    "params": _PARAMS,
    "grads": _PARAMS,
    "updates": _PARAMS,
    "loss_total": _leaf(),
}

KEYS = [
    *("batch.image", "batch.image_id", "batch.label", "batch.mask"),
    *("batch.meta.patient", "batch.meta.spacing", "preds.image", "preds.logits"),
    *("interms.encoder.__call__[0]", "interms.encoder.layer_0.__call__[0]"),
    *("params.decoder.Dense_0.kernel", "grads.decoder.Dense_0.bias"),
    *("params.encoder.layer_2.mlp.query.kernel", "updates.encoder", "loss_total"),
]


def _typo(rng, key):
    """Returns the key with one slip of the fingers in a name, and what is said of it."""
    spots = [i for i, char in enumerate(key) if char.isalpha()]
    while True:
        i = rng.choice(spots)
        kind = rng.choice(["swap", "drop", "double", "replace", "insert"])
        letter = rng.choice(string.ascii_lowercase)
        if kind == "swap" and i + 1 in spots:
            typo = key[:i] + key[i + 1] + key[i] + key[i + 2 :]
        elif kind == "drop":
            typo = key[:i] + key[i + 1 :]
        elif kind == "double":
            typo = key[:i] + key[i] + key[i:]
        elif kind == "replace":
            typo = key[:i] + letter + key[i + 1 :]
        else:
            typo = key[:i] + letter + key[i:]
        try:
            problems = kontext.check_keys(CONTEXT, {"x": typo})
        except ValueError:
            continue
        if problems:
            return typo, problems


@pytest.mark.parametrize("seed", range(3))
def test_the_key_that_was_meant_comes_first(seed):
    rng = random.Random(seed)
    wrong = []
    for _ in range(100):
        key = rng.choice(KEYS)
        typo, (problem,) = _typo(rng, key)
        first = problem.nearest[0].path if problem.nearest else None
        if first != key:
            wrong.append((typo, key, first))
    assert len(wrong) <= 2, wrong


@pytest.mark.parametrize(
    "wrong, meant",
    [
        ("image", "batch.image"),
        ("logits", "preds.logits"),
        ("batch.logits", "preds.logits"),
        ("batch.images", "batch.image"),
        ("batch.labels", "batch.label"),
        ("batch.Image", "batch.image"),
        ("batch.imageid", "batch.image_id"),
        ("batch.patient", "batch.meta.patient"),
        ("batch.spacing_mm", "batch.meta.spacing"),
        ("pred.logits", "preds.logits"),
        ("predictions.logits", "preds.logits"),
        ("output.logits", "preds.logits"),
        ("preds.logit", "preds.logits"),
        ("preds.label", "batch.label"),
        ("loss", "loss_total"),
        ("total_loss", "loss_total"),
        ("steps", "step"),
        ("state.step", "step"),
        ("context.batch.image", "batch.image"),
        ("gradients", "grads"),
        ("grad.decoder.Dense_0.bias", "grads.decoder.Dense_0.bias"),
        ("param.decoder.Dense_0.bias", "params.decoder.Dense_0.bias"),
        ("params.decoder.dense_0.kernel", "params.decoder.Dense_0.kernel"),
        ("params.decoder.Dense_1.kernel", "params.decoder.Dense_0.kernel"),
        ("params.decoder.Dense_0.weight", "params.decoder.Dense_0.kernel"),
        ("params.decoder.kernel", "params.decoder.Dense_0.kernel"),
        ("params.encoder.layer_9.mlp", "params.encoder.layer_0.mlp"),
        ("interms.encoder", None),
        ("interms.encoder.__cal__[0]", "interms.encoder.__call__[0]"),
        ("interms.encoder.call[0]", "interms.encoder.__call__[0]"),
        ("interms.encoder.__call__[1]", "interms.encoder.__call__[0]"),
        ("intermediates.encoder.__call__[0]", "interms.encoder.__call__[0]"),
        ("interms.encodre.layer_0.__call__[0]", "interms.encoder.layer_0.__call__[0]"),
        ("batch['image ']", "batch.image"),
        ("batch/image", "batch.image"),
        ("batch.image.", "batch.image"),
        ("batch..label", "batch.label"),
        ("batch:mask", "batch.mask"),
        ("$batch.mask", "batch.mask"),
    ],
)
def test_planted_mistakes(wrong, meant):
    problems = kontext.check_keys(CONTEXT, {"x": wrong})
    if meant is None:
        assert problems == []
    else:
        assert problems[0].nearest[0].path == meant
