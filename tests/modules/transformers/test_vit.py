"""Vision transformers: modes, mistakes, layers in a scan, in a run."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from tests.train import small_run

_KEY = jax.random.key(0)
_IMAGE = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)


def _encoder(num_layers=3, **kwargs):
    return kd.nn.VitEncoder.from_spec(
        num_heads=2, hidden_size=8, num_layers=num_layers, patch_size=4, **kwargs
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ViT-BB/16", "ViT-B/16"),
        ("vit_s16", "ViT-S/16"),
        ("vit_s/8", "ViT-S/8"),
        ("b/32", "ViT-B/32"),
        ("ViT-Tj/4", "ViT-Ti/4"),
        ("ViTB/16", "ViT-B/16"),
        ("ViT-B-16", "ViT-B/16"),
        ("ti", "ViT-Ti/16"),
    ],
)
def test_a_variant_with_a_typo_is_told_with_the_nearest(name, meant):
    with pytest.raises(ValueError, match=f"Did you mean '{meant}'"):
        kd.nn.VitEncoder.from_variant_str(name)


@pytest.mark.parametrize("name", ["", "16", "ViT-", "resnet50", "ViT-B/0"])
def test_what_is_no_variant_is_told_with_those_that_are(name):
    with pytest.raises(ValueError, match=r"\['mu', 'Ti', 'S', 'M', 'B'"):
        kd.nn.VitEncoder.from_variant_str(name)


def test_a_variant_without_patches_says_what_to_write():
    with pytest.raises(ValueError, match=r"'ViT-B/16', or give `patch_size`"):
        kd.nn.VitEncoder.from_variant_str("ViT-B")


def test_heads_that_do_not_divide_the_width_are_told_when_it_is_configured():
    with pytest.raises(ValueError, match=r"num_heads=3, hidden_size=8.*\[1, 2, 4, 8\]"):
        kd.nn.VitEncoder.from_spec(
            num_heads=3, hidden_size=8, num_layers=1, patch_size=4
        )


def test_a_token_for_classes_that_is_not_there_is_told():
    with pytest.raises(ValueError, match="prepend_cls_token=True"):
        kd.nn.Vit(encoder=_encoder(), mode="cls_token")


def test_an_unknown_mode_is_told_with_the_nearest():
    with pytest.raises(ValueError, match=r"'cls_tokens'\. Did you mean 'cls_token'"):
        kd.nn.Vit(encoder=_encoder(), mode="cls_tokens")


def test_images_that_patches_do_not_fill_are_told_before_compiling():
    model = kd.nn.VitAutoEncoder(encoder=_encoder())
    with pytest.raises(ValueError, match="4 x 4 pixels do not fill an image of 8 x 7"):
        jax.eval_shape(model.init, _KEY, _IMAGE[:, :, :7])


@pytest.mark.slow
def test_the_first_token_can_be_classified_whatever_it_is():
    forced = kd.nn.Vit(encoder=_encoder(1), num_classes=3, mode="cls_token_forced")
    variables = jax.jit(forced.init)(_KEY, _IMAGE)
    logits, state = jax.jit(
        lambda v, x: forced.apply(v, x, mutable=True, capture_intermediates=True)
    )(variables, _IMAGE)
    (tokens,) = state["intermediates"]["encoder"]["__call__"]
    p = variables["params"]
    hidden = np.tanh(tokens[:, 0] @ p["pre_logits"]["kernel"])
    np.testing.assert_allclose(
        logits["logits"], hidden @ p["classifier_head"]["kernel"], rtol=1e-4, atol=1e-5
    )


def test_an_autoencoder_leaves_the_token_for_classes_out():
    model = kd.nn.VitAutoEncoder(encoder=_encoder(prepend_cls_token=True))
    preds = jax.eval_shape(model.init_with_output, _KEY, _IMAGE)[0]
    assert preds["image"].shape == _IMAGE.shape


@pytest.mark.slow
def test_scanned_layers_give_the_numbers_of_layers_one_by_one():
    plain, scanned = _encoder(), _encoder(scan=True)
    params = jax.jit(plain.init)(_KEY, _IMAGE)["params"]
    layers = [params.pop(f"layers_{i}") for i in range(3)]
    stacked = {**params, "blocks": jax.tree.map(lambda *x: jnp.stack(x), *layers)}
    specs = jax.eval_shape(scanned.init, _KEY, _IMAGE)["params"]
    assert jax.tree.map(jnp.shape, specs) == jax.tree.map(jnp.shape, stacked)
    for i, layer in enumerate(layers):
        params[f"layers_{i}"] = layer

    @jax.jit
    def run(params, stacked):
        tokens = plain.apply({"params": params}, _IMAGE)
        same, state = scanned.apply(
            {"params": stacked}, _IMAGE, mutable=True, capture_intermediates=True
        )
        return tokens, same, state["intermediates"]

    tokens, same, interms = run(params, stacked)
    np.testing.assert_allclose(tokens, same, rtol=1e-5, atol=1e-6)
    assert interms["blocks"]["attention"]["attn_weights"][0].shape == (3, 2, 2, 4, 4)
    axes = kd.nn.logical_axes(scanned, _IMAGE)["params"]["blocks"]
    names = tuple(axes["mlp"]["dense_in"]["kernel"])
    assert names == ("layers", "embed", "mlp")


@pytest.mark.slow
def test_scanned_layers_start_with_numbers_of_their_own():
    params = jax.jit(_encoder(scan=True).init)(_KEY, _IMAGE)["params"]
    first, second, _ = params["blocks"]["mlp"]["dense_in"]["kernel"]
    assert not np.any(first == second)


def test_layers_that_differ_cannot_be_scanned():
    first, second = _encoder(1), _encoder(1, block_type=kd.nn.PostNormBlock)
    encoder = first.clone(layers=(*first.layers, *second.layers), scan=True)
    with pytest.raises(
        ValueError, match=re.escape("`layers[1]` is not as `layers[0]`")
    ):
        jax.eval_shape(encoder.init, _KEY, _IMAGE)


class _Pictures:
    def __len__(self):
        return 16

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        image = rng.normal(size=(8, 8, 3)).astype(np.float32)
        return {"image": image, "label": np.array([image.mean() > 0], np.int32)}


def _trainer(workdir, *, scan=False, **changes):
    kwargs = {
        "model": kd.nn.Vit(
            encoder=_encoder(2, scan=scan), num_classes=2, image="batch.image"
        ),
        "train_ds": small_run.make_ds(data_source=_Pictures(), batch_size=8),
        "num_train_steps": 1,
        "optimizer": optax.sgd(0.1),
        "train_metrics": {},
    }
    return small_run.make_trainer(workdir, **{**kwargs, **changes})


@pytest.mark.slow
def test_weights_of_attention_are_a_key_of_a_run(tmp_path):
    key = "interms.encoder.layers_1.attention.attn_weights[0]"
    metric = kd.metrics.Norm(tensor=key, axis=-1, ord=1)
    _, aux = _trainer(tmp_path, train_metrics={"sum": metric}).train()
    # Each query's weights are positive and sum to one.
    sums = aux.compute().metric_values["metrics/sum"]
    np.testing.assert_allclose(sums, 1.0, rtol=1e-5)


def test_an_encoder_by_name_alone_is_told_how_to_make_it():
    with pytest.raises(ValueError, match=r"from_variant_str\('Ti/4'\)`: got 'Ti/4'"):
        kd.nn.Vit(encoder="Ti/4", image="batch.image")


def test_a_program_of_scanned_layers_is_as_long_for_48_as_for_12():
    def length(num_layers):
        model = _encoder(num_layers, scan=True)
        variables = jax.eval_shape(model.init, _KEY, _IMAGE)
        lowered = jax.jit(model.apply).lower(variables, _IMAGE)
        return len(lowered.as_text().splitlines())

    assert length(48) == length(12)


@pytest.mark.slow
@pytest.mark.parametrize(("scan", "glob"), [(False, "layers_*"), (True, "blocks")])
def test_layers_can_be_rematerialized(scan, glob, tmp_path):
    remat = kd.train.Remat(modules=[f"encoder.{glob}"])
    plain, _ = _trainer(tmp_path / "plain", scan=scan).train()
    less, _ = _trainer(tmp_path / "less", scan=scan, remat=remat).train()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        plain.params,
        less.params,
    )
