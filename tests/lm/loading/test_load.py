"""Loading: folders, workdirs and parts of a model; what does not fit is told."""

from __future__ import annotations

import json
import shutil

import jax
import numpy as np
import pytest

from kauldron import kd
from tests.lm import small_model

MODEL = small_model.model()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_model.save(tmp_path_factory.mktemp("load") / "small")


@pytest.fixture
def copy(folder, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(folder, path)
    return path


def _change_config(path, **values):
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_folder_is_model_parameters_and_tokenizer(folder):
    model, params, tokenizer = kd.lm.load(folder)
    # The same decoder, said with its numbers of heads and features.
    assert model.clone(blocks=()) == MODEL.clone(blocks=())
    jax.tree.map(np.testing.assert_array_equal, params, small_model.params(MODEL))
    assert tokenizer == small_model.tokenizer()


def test_several_files_and_an_index_are_one_model(folder, tmp_path):
    small_model.save(tmp_path, max_shard_bytes=20_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    assert not (tmp_path / "model.safetensors").exists()
    _, params, _ = kd.lm.load(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, params, small_model.params(MODEL))


def test_a_head_that_is_the_embedding_may_be_in_the_file_once_more(tmp_path):
    model = small_model.model(has_tied_head=True)
    small_model.save(tmp_path, model)
    file = tmp_path / "model.safetensors"
    arrays = {k: np.array(x) for k, x in kd.ckpts.SafetensorsFiles(file).items()}
    head = arrays["model.embed_tokens.weight"]
    kd.ckpts.save_safetensors(arrays | {"lm_head.weight": head}, file)
    _, params, _ = kd.lm.load(tmp_path)
    assert "head" not in params


def test_parameters_go_to_the_shards_that_are_asked_for(folder):
    sharding = kd.sharding.FSDPSharding(min_size_to_shard_mb=0)
    _, params, _ = kd.lm.load(folder, sharding=sharding)
    kernel = params["layer_0"]["feed_forward"]["up"]["kernel"]
    assert len(kernel.addressable_shards) == jax.device_count()
    assert kernel.addressable_shards[0].data.nbytes < kernel.nbytes
    jax.tree.map(np.testing.assert_array_equal, params, small_model.params(MODEL))


def test_parameters_are_cast_as_they_are_read(folder):
    _, params, _ = kd.lm.load(folder, param_dtype="bfloat16")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"bfloat16"}


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"model_type": "lama"}, "ModelError", "known are llama.*Did you mean 'llama'"),
        ({"hidden_act": "relu"}, "ModelError", "hidden_act='relu'.*with 'silu' alone"),
        ({"rope_scaling": {"rope_type": "x"}}, "ModelError", "rotary embedding 'x'"),
        ({"num_key_value_heads": 3}, "CheckpointError", "copy.*k_proj|num_kv_heads"),
        ({"intermediate_size": 64}, "CheckpointError", "copy.*up_proj"),
        ({"num_hidden_layers": 3}, "CheckpointError", "copy.*model.layers.2"),
        ({"vocab_size": 200}, "TokenizerError", "config.json.*200.*tokenizer has 300"),
    ],
)
def test_a_config_that_does_not_fit_is_told_with_file_and_name(
    copy, values, error, message
):
    _change_config(copy, **values)
    kind = getattr(kd.lm, error, None) or getattr(kd.ckpts, error)
    with pytest.raises((kind, ValueError), match=f"(?s){message}"):
        kd.lm.load(copy)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "config.json",
            "no model in '.*copy': it has 'model.safetensors', .* and "
            "'tokenizer_config.json'. A Hugging Face folder has .*; the workdir",
        ),
        ("tokenizer.json", "no tokenizer.json in '.*copy'"),
        ("model.safetensors", "no .*safetensors. in '.*copy'"),
    ],
)
def test_a_file_that_is_missing_is_told(copy, name, message):
    (copy / name).unlink()
    with pytest.raises(kd.errors.UserError, match=message):
        kd.lm.load(copy)


def test_a_truncated_file_of_weights_is_told(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(
        kd.ckpts.CheckpointError, match=r"model\.safetensors' cannot be"
    ):
        kd.lm.load(copy)


def test_a_model_of_no_family_is_not_written(tmp_path):
    block = MODEL.blocks[0].clone(has_post_norms=True)
    odd = MODEL.clone(blocks=(block,))
    with pytest.raises(kd.lm.ModelError, match="no published family"):
        kd.lm.save(tmp_path / "odd", odd, {})
    assert not (tmp_path / "odd").exists()


def test_a_training_begins_with_published_weights(folder):
    model = kd.lm.published_decoder(str(folder))
    transform = kd.lm.PublishedWeights(str(folder))
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 1), np.int32))
    state = kd.train.TrainState(
        step=0,
        params=jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes["params"]),
        opt_state=None,
        collections={},
    )
    transform.check(state)
    params = transform.transform(state).params
    jax.tree.map(np.testing.assert_array_equal, params, small_model.params(MODEL))
