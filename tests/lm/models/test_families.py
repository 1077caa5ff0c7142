"""Families in Hugging Face's layout: names, values and configs are transformers'."""

from __future__ import annotations

import json
import pathlib
import zlib

import jax
import numpy as np
import pytest

from kauldron import kd
from tests.modules.language import families, test_families

_PUBLISHED = json.loads(pathlib.Path(__file__).with_name("published.json").read_text())
_NAMES = list(families.FAMILIES)


def _model(name):
    return test_families.make(name, tokens="batch.tokens")


def _params(model):
    specs = kd.lm.param_specs(model)

    def draw(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        return families.weights(name, leaf.shape)

    return jax.tree.map_with_path(draw, specs)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Writes each model as a folder."""
    root = tmp_path_factory.mktemp("families")
    for name in _NAMES:
        model = _model(name)
        kd.lm.save(root / name, model, _params(model), context_length=64)
    return root


def _write_config(folder, config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", _NAMES)
def test_a_published_config_makes_the_model_that_has_its_logits(name, tmp_path):
    folder = _write_config(tmp_path / name, _PUBLISHED[name]["config"])
    found = kd.lm.find(folder).model(tokens="batch.tokens")
    # The same up to what may be said twice, such as all heads as key heads.
    again = [
        kd.lm.save(tmp_path / f"{i}", model, _params(model), context_length=64)
        for i, model in enumerate((found, _model(name)))
    ]
    configs = [json.loads((path / "config.json").read_text()) for path in again]
    assert configs[0] == configs[1]


@pytest.mark.parametrize("name", _NAMES)
def test_written_tensors_are_those_that_transformers_writes(name, folders):
    files = kd.ckpts.SafetensorsFiles(folders / name)
    found = {key: [list(x.shape), zlib.crc32(x.tobytes())] for key, x in files.items()}
    assert found == _PUBLISHED[name]["tensors"]


@pytest.mark.parametrize("name", _NAMES)
def test_a_written_folder_is_read_as_it_was(name, folders):
    published = kd.lm.find(folders / name)
    model = published.model(tokens="batch.tokens")
    assert published.config["model_type"] == _PUBLISHED[name]["config"]["model_type"]
    params = published.params(model)
    jax.tree.map(np.testing.assert_array_equal, params, _params(_model(name)))
    assert published.context_length == (16 if name == "gpt2" else 64)


@pytest.mark.parametrize(
    ("name", "num_layers"), [("gemma3", 5), ("mixtral", 3), ("deepseek_v3", 3)]
)
def test_layers_may_be_a_scan_in_the_model(name, num_layers, tmp_path):
    # Rounds of two blocks and one left over; experts; a dense layer before the scan.
    layers = _model(name).clone(num_layers=num_layers)
    plain = _params(layers)
    kd.lm.save(tmp_path / "plain", layers, plain, context_length=64)
    published = kd.lm.find(tmp_path / "plain")
    model = published.model(tokens="batch.tokens", scan_layers=True)
    params = published.params(model)
    period = len(model.blocks)
    scanned = [f"layer_{i}" for i in range(num_layers) if f"layer_{i}" not in params]
    assert len(scanned) == num_layers - 1 + (name == "mixtral")
    for place in range(period):
        jax.tree.map(
            lambda found, *each: np.testing.assert_array_equal(found, np.stack(each)),
            params["layers"][f"layer_{place}"],
            *(plain[name] for name in scanned[place::period]),
        )
    for key in set(params) - {"layers"}:
        jax.tree.map(np.testing.assert_array_equal, params[key], plain[key])
    kd.lm.save(tmp_path / "scan", model, params, context_length=64)
    files = [tmp_path / name / "model.safetensors" for name in ("plain", "scan")]
    assert files[0].read_bytes() == files[1].read_bytes()
