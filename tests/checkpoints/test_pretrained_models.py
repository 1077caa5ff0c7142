"""Logits of PyTorch's models with our modules, and files that go both ways."""

from __future__ import annotations

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.checkpoints import seeded_tensors

_FIXTURE = pathlib.Path(__file__).parent / "pretrained_logits.json"
_ENTRIES = json.loads(_FIXTURE.read_text())


def _resnet(**kwargs):
    return kd.nn.ResNet(num_classes=5, image="image", **kwargs)


def _convnext(**kwargs):
    return kd.nn.ConvNeXt(num_classes=5, image="image", **kwargs)


def _vit(**kwargs):
    return kd.nn.VitClassifier.from_spec(
        num_heads=3,
        hidden_size=12,
        patch_size=8,
        num_classes=5,
        image="image",
        **kwargs,
    )


_MODELS = {
    "timm_resnet": lambda: _resnet(
        stage_sizes=(1, 2, 1, 1), features=(8, 12, 8, 8), stem_features=64
    ),
    "hf_resnet": lambda: _resnet(
        stage_sizes=(1, 2), features=(2, 4), block="bottleneck", stem_features=4
    ),
    "timm_convnext": lambda: _convnext(stage_sizes=(1, 1, 1, 1), features=(4, 8, 8, 8)),
    "timm_vit": lambda: _vit(num_layers=2, mlp_size=24),
    "timm_vit_mean": lambda: _vit(num_layers=1, pooling="mean"),
    "hf_vit": lambda: _vit(num_layers=2, mlp_size=20, norm_epsilon=1e-12),
    "hf_convnext": lambda: _convnext(stage_sizes=(1, 2), features=(4, 8)),
}


def _tensors(name):
    shapes = _ENTRIES[name]["tensors"]
    return {n: seeded_tensors.make(n, tuple(shape)) for n, shape in shapes.items()}


@pytest.mark.parametrize("name", _MODELS)
def test_model_has_the_logits_of_pytorch_and_writes_the_file_again(name, tmp_path):
    tensors = _tensors(name)
    path = tmp_path / "theirs.safetensors"
    kd.ckpts.save_safetensors(tensors, path)
    model, image = _MODELS[name](), seeded_tensors.make_image(size=32)
    with kd.nn.set_train_property(False):
        specs = jax.eval_shape(model.init, jax.random.key(0), image)
        layout = name.removesuffix("_mean")
        weights = kd.ckpts.PretrainedWeights(path=path, layout=layout)
        variables = weights.fill(specs)
        logits = jax.jit(model.apply)(variables, image)["logits"]
    # f32 sums in another order
    expected = np.asarray(_ENTRIES[name]["logits"], np.float32)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=2e-5)

    written = tmp_path / "ours.safetensors"
    kd.ckpts.save_pretrained(variables, written, layout)
    found = dict(kd.ckpts.SafetensorsFiles(written))
    tensors = {n: x for n, x in tensors.items() if "num_batches" not in n}
    assert found.keys() == tensors.keys()
    for key, tensor in _with_position_of_class(tensors).items():
        np.testing.assert_array_equal(found[key], tensor, err_msg=key)
    again = kd.ckpts.PretrainedWeights(path=written, layout=layout).fill(specs)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def _with_position_of_class(tensors):
    """Our class token has no position of its own: it is part of the token."""
    tensors = dict(tensors)
    token = next((n for n in tensors if n.endswith("cls_token")), None)
    if token is not None:
        name = next(n for n in tensors if "pos" in n)
        positions = tensors[name].copy()
        tensors[token] = tensors[token] + positions[:, :1]
        positions[:, 0] = 0
        tensors[name] = positions
    return tensors


def test_published_vit_has_the_pooled_output_of_a_model_without_head(tmp_path):
    path = tmp_path / "hf.safetensors"
    kd.ckpts.save_safetensors(_tensors("hf_vit_pooler"), path)
    encoder = _MODELS["hf_vit"]().encoder
    model = kd.nn.Vit(encoder=encoder, num_classes=12, mode="cls_token", image="image")
    image = seeded_tensors.make_image(size=32)
    variables = jax.tree.map(
        lambda x: jnp.zeros(x.shape),
        jax.eval_shape(model.init, jax.random.key(0), image),
    )
    variables["params"]["classifier_head"]["kernel"] = jnp.eye(12)
    weights = kd.ckpts.PretrainedWeights(
        path=path, layout="hf_vit", ignore_model_keys=["classifier_head"]
    )
    logits = jax.jit(model.apply)(weights.fill(variables), image)["logits"]
    expected = np.asarray(_ENTRIES["hf_vit_pooler"]["logits"], np.float32)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=2e-5)


def test_layers_of_an_encoder_without_head_may_be_stacked(tmp_path):
    path = tmp_path / "timm.safetensors"
    kd.ckpts.save_safetensors(_tensors("timm_vit"), path)
    encoder, image = _MODELS["timm_vit"]().encoder, seeded_tensors.make_image(size=32)
    weights = kd.ckpts.PretrainedWeights(
        path=path, layout="timm_vit", ignore_restored_keys=["head"]
    )

    def stack(variables):
        params = dict(variables["params"])
        layers = [params.pop(f"layers_{i}") for i in range(2)]
        return {
            "params": {
                **params,
                "blocks": jax.tree.map(lambda *x: jnp.stack(x), *layers),
            }
        }

    specs = jax.eval_shape(encoder.init, jax.random.key(0), image)
    one_by_one = weights.fill(specs)
    stacked = weights.fill(jax.eval_shape(stack, specs))
    jax.tree.map(np.testing.assert_array_equal, stacked, stack(one_by_one))
    kd.ckpts.save_pretrained(one_by_one, tmp_path / "a.safetensors", "timm_vit")
    kd.ckpts.save_pretrained(stacked, tmp_path / "b.safetensors", "timm_vit")
    a, b = (
        dict(kd.ckpts.SafetensorsFiles(tmp_path / f"{x}.safetensors")) for x in "ab"
    )
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
