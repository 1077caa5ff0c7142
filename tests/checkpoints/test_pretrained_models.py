"""Logits of PyTorch's models with our modules, and files that go both ways."""

from __future__ import annotations

import json
import pathlib

import jax
import numpy as np
import pytest

from kauldron import kd
from tests.checkpoints import seeded_tensors

_FIXTURE = pathlib.Path(__file__).parent / "fixtures" / "pretrained.json"
_ENTRIES = json.loads(_FIXTURE.read_text())


def _resnet(**kwargs):
    return kd.nn.ResNet(num_classes=5, image="image", **kwargs)


def _convnext(**kwargs):
    return kd.nn.ConvNeXt(num_classes=5, image="image", **kwargs)


_MODELS = {
    "timm_resnet": lambda: _resnet(
        stage_sizes=(1, 2, 1, 1), features=(8, 12, 8, 8), stem_features=64
    ),
    "hf_resnet": lambda: _resnet(
        stage_sizes=(1, 2), features=(2, 4), block="bottleneck", stem_features=4
    ),
    "timm_convnext": lambda: _convnext(stage_sizes=(1, 1, 1, 1), features=(4, 8, 8, 8)),
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
        weights = kd.ckpts.PretrainedWeights(path=path, layout=name)
        variables = weights.fill(specs)
        logits = jax.jit(model.apply)(variables, image)["logits"]
    # f32 sums in another order
    expected = np.asarray(_ENTRIES[name]["logits"], np.float32)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=2e-5)

    written = tmp_path / "ours.safetensors"
    kd.ckpts.save_pretrained(variables, written, name)
    found = dict(kd.ckpts.SafetensorsFiles(written))
    tensors = {n: x for n, x in tensors.items() if "num_batches" not in n}
    assert found.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(found[key], tensor, err_msg=key)
