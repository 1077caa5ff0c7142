"""Attention by layer and head: on patches of an image, and on tokens with their texts."""

from __future__ import annotations

import functools
import re

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from kauldron import kd
from kauldron.inspect.displays import attention_pictures

pytestmark = pytest.mark.usefixtures("quick_compile")
_RNG = np.random.default_rng(0)
_EXAMPLES = [
    {
        "image": _RNG.random((16, 8, 3), np.float32),
        "tokens": _RNG.integers(50, size=6).astype(np.int32),
        "x": _RNG.normal(size=3).astype(np.float32),
    }
    for _ in range(8)
]


def _trainer(model, workdir=None):
    ds = kd.data.py.DataSource(_EXAMPLES, batch_size=8, shuffle=False)
    return kd.train.Trainer(
        workdir=workdir,
        train_ds=ds,
        model=model,
        num_train_steps=1,
        optimizer=optax.sgd(0.1),
    )


def _vit(**changes):
    encoder = kd.nn.VitEncoder.from_spec(
        num_heads=2,
        hidden_size=8,
        num_layers=2,
        patch_size=2,
        prepend_cls_token=True,
        **changes,
    )
    return kd.nn.Vit(
        encoder=encoder, num_classes=3, image="batch.image", mode="cls_token"
    )


def _decoder(**changes):
    return kd.nn.decoder(
        "llama",
        vocab_size=50,
        features=16,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        hidden_features=8,
        tokens="batch.tokens",
        **changes,
    )


@pytest.fixture(scope="module")
def of_images(quick_compile):
    return kd.inspect.attention_maps(_trainer(_vit()), example=3)


@pytest.fixture(scope="module")
def of_tokens(quick_compile):
    trainer = _trainer(_decoder())
    return kd.inspect.attention_maps(trainer, example=3, labels=lambda i: f"<{i}>")


def test_weights_are_those_that_the_model_itself_makes(of_images):
    """The published key `attn_weights`, of a run that reads it, is another way there."""
    trainer = _trainer(_vit())
    batch = {"image": np.stack([e["image"] for e in _EXAMPLES])}
    state = trainer.init_state()
    apply = functools.partial(trainer.model.apply, mutable=["intermediates"])
    with kd.nn.set_train_property(False):
        _, variables = jax.jit(apply)({"params": state.params}, batch["image"])
    assert list(of_images.maps) == [
        "encoder.layers_0.attention",
        "encoder.layers_1.attention",
    ]
    for i, layer in enumerate(of_images):
        sown = variables["intermediates"]["encoder"][f"layers_{i}"]["attention"]
        expected = sown["attn_weights"][0][3]
        assert layer.weights.shape == (2, 33, 33)
        np.testing.assert_allclose(layer.weights, expected, atol=2e-6)


def test_patches_lie_on_the_image_and_the_class_token_is_asked(of_images):
    layer = of_images["encoder.layers_1.attention"]
    assert "query 0 over 8 x 4 patches" in str(layer)
    page = layer._repr_html_()
    assert (
        page.count("<img src='data:image/png;base64,") == 4
    )  # the image, the mean, two heads
    drawn = str(layer).rsplit("patches:\n", 1)[1].splitlines()
    assert len(drawn) == 8 and max(map(len, drawn)) == 8  # two characters a patch
    patches = layer.weights.mean(0)[0, 1:].reshape(8, 4)
    row, column = np.unravel_index(patches.argmax(), patches.shape)
    assert drawn[row][2 * column] == "█"


def test_tokens_have_their_texts_and_see_none_behind_them(of_tokens):
    assert len(of_tokens) == 2
    layer = of_tokens["layer_1.attention"]
    assert layer.labels == tuple(f"<{i}>" for i in _EXAMPLES[3]["tokens"])
    assert np.triu(layer.weights, 1).max() == 0
    np.testing.assert_allclose(layer.weights.sum(-1), 1, atol=1e-6)
    text, page = str(layer), layer._repr_html_()
    for label in layer.labels:
        assert f"{label} |" in text
        assert label.replace("<", "&lt;").replace(">", "&gt;") in page
    assert not re.search(r">\s*<\d+>\s*<", page)  # never as a tag


def test_layers_of_a_scan_have_numbers_and_the_same_weights(of_tokens):
    stacked = kd.inspect.attention_maps(_trainer(_decoder(scan_layers=True)))
    assert list(stacked.maps) == [
        "layers.layer_0.attention[0]",
        "layers.layer_0.attention[1]",
    ]
    assert stacked["layers.layer_0.attention[1]"].weights.shape == (4, 6, 6)


def test_concentration_is_the_exponential_of_the_entropy(of_tokens):
    [row, *_] = of_tokens["layer_0.attention"].table().as_dicts()
    head = of_tokens["layer_0.attention"].weights[0].astype(np.float64)
    entropies = [-sum(p * np.log(p) for p in query if p > 0) for query in head]
    assert row["keys seen"] == pytest.approx(np.exp(np.mean(entropies)), rel=1e-5)
    # Of the queries but the first, which sees itself only.
    assert row["strongest"] == pytest.approx(head[1:].max())


def test_bf16_of_a_run_gives_weights_near_those_of_f32(of_tokens):
    trainer = _trainer(_decoder()).replace(precision="bf16")
    halved = kd.inspect.attention_maps(trainer, example=3)
    found, expected = (m["layer_1.attention"].weights for m in (halved, of_tokens))
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.abs(found - expected).max() > 0


class _Latent(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        return {"y": nn.Dense(2)(x)}


def test_what_cannot_be_shown_is_told():
    with pytest.raises(kd.inspect.AttentionMapError, match="no attention"):
        kd.inspect.attention_maps(_trainer(_Latent()))
    trainer = _trainer(_decoder())
    with pytest.raises(kd.inspect.AttentionMapError, match="0 to 7: got 8"):
        kd.inspect.attention_maps(trainer, example=8)
    with pytest.raises(kd.inspect.AttentionMapError, match="2 labels for 6 keys"):
        kd.inspect.attention_maps(trainer, labels=["a", "b"])
    with pytest.raises(kd.inspect.AttentionMapError, match=r"f32\[8 3\]"):
        kd.inspect.attention_maps(trainer, image="batch.x")


def test_an_unknown_layer_names_the_nearest(of_tokens):
    with pytest.raises(kd.inspect.AttentionMapError, match=r"'layer_1\.attention'"):
        of_tokens["layer_1.atention"]


@pytest.mark.parametrize(
    ("size", "num_keys", "expected"),
    [
        ((16, 8), 32, (8, 4, 0)),
        ((16, 8), 33, (8, 4, 1)),
        ((16, 8), 36, (8, 4, 4)),  # registers
        ((224, 224), 197, (14, 14, 1)),
        ((16, 8), 7, None),
    ],
)
def test_patches_are_found_by_the_sides_of_the_image(size, num_keys, expected):
    grid = attention_pictures.grid_of(size, (2, num_keys, num_keys), None)
    assert (None if grid is None else grid[:3]) == expected


def test_long_rows_are_drawn_by_their_largest_weights():
    head = np.zeros((300, 300), np.float32)
    head[299, 298] = 1
    drawn = attention_pictures.as_text(head, None, ()).splitlines()
    assert len(drawn) == 38 and drawn[-1].endswith("██")  # eight queries a line
    page = attention_pictures.as_html([("head", head)], None, None, ["x"] * 300)
    assert "<text" not in page
