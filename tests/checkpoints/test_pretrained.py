"""Pretrained weights in a run: what is filled, and what is told if something is not."""

from __future__ import annotations

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from kauldron import kd, konfig
from kauldron.sharding import TrainState

_P = kd.ckpts.pretrained
_RNG = np.random.default_rng(0)
_LAYOUT = _P.Layout(
    name="toy",
    model="Toy",
    base="net.",
    rules=(
        *_P.dense("net.blocks.{i}.fc", "block{i}.dense"),
        *_P.batch_norm("net.bn", "norm"),
        _P.Rule("net.pos", "params.pos", "1 n d -> n d"),
        *_P.dense("fc", "head"),
    ),
)


def _tensors(*, num_classes=5, num_positions=4):
    def make(*shape):
        return _RNG.standard_normal(shape).astype(np.float32)

    return {
        **{f"net.blocks.{i}.fc.weight": make(3, 3) for i in range(2)},
        **{f"net.blocks.{i}.fc.bias": make(3) for i in range(2)},
        "net.bn.weight": make(3),
        "net.bn.bias": make(3),
        "net.bn.running_mean": make(3),
        "net.bn.running_var": make(3),
        "net.bn.num_batches_tracked": np.zeros((), np.int64),
        "net.pos": make(1, num_positions, 3),
        "fc.weight": make(num_classes, 3),
        "fc.bias": make(num_classes),
    }


def _variables(*, num_classes=5, num_positions=4, num_blocks=2, dtype=jnp.float32):
    def init(*shape):
        return jnp.full(shape, 7, dtype)

    return {
        "params": {
            **{
                f"block{i}": {"dense": {"kernel": init(3, 3), "bias": init(3)}}
                for i in range(num_blocks)
            },
            "norm": {"scale": init(3), "bias": init(3)},
            "pos": init(num_positions, 3),
            "head": {"kernel": init(3, num_classes), "bias": init(num_classes)},
        },
        "batch_stats": {"norm": {"mean": init(3), "var": init(3)}},
    }


def _state(**kwargs):
    variables = _variables(**kwargs)
    return TrainState(
        step=jnp.int32(0),
        params=variables["params"],
        collections={"batch_stats": variables["batch_stats"]},
        opt_state=None,
    )


@pytest.fixture
def file(tmp_path):
    """Writes tensors; returns the path."""

    def write(tensors, **kwargs):
        path = tmp_path / "theirs.safetensors"
        kd.ckpts.save_safetensors(tensors, path, **kwargs)
        return path

    return write


def _fill(path, variables=None, layout=_LAYOUT, **kwargs):
    weights = kd.ckpts.PretrainedWeights(path=path, layout=layout, **kwargs)
    return weights.fill(_variables() if variables is None else variables)


def _error(path, variables=None, **kwargs):
    with pytest.raises(kd.ckpts.CheckpointError) as e:
        _fill(path, variables, **kwargs)
    return str(e.value)


def test_every_variable_of_a_state_is_filled_running_statistics_too(file):
    tensors, state = _tensors(), _state()
    path = file(tensors)
    after = kd.ckpts.PretrainedWeights(path=path, layout=_LAYOUT).transform(state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    kernel = after.params["block1"]["dense"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["net.blocks.1.fc.weight"].T)
    np.testing.assert_array_equal(
        after.collections["batch_stats"]["norm"]["var"], tensors["net.bn.running_var"]
    )
    assert all(np.all(np.asarray(x) != 7) for x in jax.tree.leaves(after.params))


def test_shards_with_an_index_are_read(file):
    tensors = _tensors()
    path = file(tensors, max_shard_bytes=64)
    assert not path.exists()  # several files and an index
    whole = _fill(path.parent)
    np.testing.assert_array_equal(whole["params"]["head"]["bias"], tensors["fc.bias"])


def test_placement_and_dtype_are_those_of_the_model(file):
    variables = _variables(dtype=jnp.bfloat16)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    placement = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    variables = jax.device_put(variables, placement)
    tensors = _tensors()
    filled = _fill(file(tensors), variables)
    for leaf in jax.tree.leaves(filled):
        assert leaf.dtype == jnp.bfloat16
        assert leaf.sharding == placement
    np.testing.assert_array_equal(
        filled["params"]["head"]["kernel"],
        tensors["fc.weight"].T.astype(ml_dtypes.bfloat16),
    )


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_half_precision_files_fill_f32_models_exactly(file, dtype):
    tensors = {
        n: x.astype(dtype) if x.dtype == np.float32 else x
        for n, x in _tensors().items()
    }
    filled = _fill(file(tensors))
    kernel = filled["params"]["head"]["kernel"]
    assert kernel.dtype == jnp.float32
    np.testing.assert_array_equal(kernel, tensors["fc.weight"].T.astype(np.float32))


def test_numbers_too_large_for_the_model_are_refused(file):
    tensors = _tensors()
    tensors["fc.weight"][0, 0] = 70_000
    message = _error(file(tensors), _variables(dtype=jnp.float16))
    assert "params.head.kernel: 1 of 15 numbers" in message
    assert "too large for float16" in message


def test_tensors_and_variables_without_counterpart_are_all_named(file):
    tensors = _tensors()
    tensors["net.blocks.0.fc.wieght"] = tensors.pop("net.blocks.0.fc.weight")
    tensors["net.blocks.2.fc.bias"] = np.zeros(3, np.float32)
    message = _error(file(tensors))
    assert (
        "params.block0.dense.kernel: no 'net.blocks.0.fc.weight' in the file. "
        "Did you mean 'net.blocks.0.fc.wieght'?" in message
    )
    assert "net.blocks.0.fc.wieght, float32[3, 3]: no rule uses it" in message
    assert (
        "net.blocks.2.fc.bias, float32[3]: the model has no "
        "'params.block2.dense.bias'" in message
    )
    assert "`ignore_model_keys`" in message
    assert "`ignore_restored_keys`" in message


def test_what_is_ignored_on_either_side_may_differ(file, capsys):
    tensors = _tensors()
    del tensors["net.pos"]
    tensors["extra"] = np.zeros(3, np.float32)
    filled = _fill(
        file(tensors), ignore_model_keys=["pos"], ignore_restored_keys=["extra"]
    )
    np.testing.assert_array_equal(
        filled["params"]["pos"], _variables()["params"]["pos"]
    )
    told = capsys.readouterr().err
    assert "params.pos: kept (ignored)" in told
    assert "ignored in the file: extra" in told


def test_variable_that_no_rule_makes_is_named(file):
    variables = _variables()
    variables["params"]["adapter"] = {"kernel": jnp.zeros((3, 3))}
    message = _error(file(_tensors()), variables)
    assert "params.adapter.kernel: no rule makes it" in message


def test_other_shapes_are_named_with_both_sides(file):
    message = _error(file(_tensors()), _variables(num_classes=2))
    assert (
        "params.head.kernel: expected float32[3, 2], but 'fc.weight' is float32[5, 3]"
        in message
    )
    assert "params.head.bias: expected float32[2], but 'fc.bias'" in message
    assert "{'head': kd.ckpts.KeepInit()}" in message


def test_head_with_other_classes_starts_anew_and_is_told(file, capsys):
    filled = _fill(
        file(_tensors()),
        _variables(num_classes=2),
        resize={"head": kd.ckpts.KeepInit()},
    )
    assert np.all(np.asarray(filled["params"]["head"]["kernel"]) == 7)
    assert "params.head.kernel: kept (other shape)" in capsys.readouterr().err


def test_head_with_more_classes_keeps_those_it_shares(file, capsys):
    tensors = _tensors()
    filled = _fill(
        file(tensors),
        _variables(num_classes=6),
        resize={"head": kd.ckpts.CopyOverlap()},
    )
    kernel = np.asarray(filled["params"]["head"]["kernel"])
    np.testing.assert_array_equal(kernel[:, :5], tensors["fc.weight"].T)
    assert np.all(kernel[:, 5] == 7)
    assert "params.head.kernel: CopyOverlap" in capsys.readouterr().err


def test_positions_of_a_larger_image_are_interpolated(file):
    tensors = _tensors(num_positions=4)
    tensors["net.pos"] = np.repeat(np.float32([0, 1, 2, 3]), 3).reshape(1, 4, 3)
    filled = _fill(
        file(tensors),
        _variables(num_positions=9),
        resize={"pos": kd.ckpts.InterpolatePositions()},
    )
    # The grid [[0, 1], [2, 3]] on 3 x 3: the middle is the mean.
    grid = np.asarray(filled["params"]["pos"])[:, 0].reshape(3, 3)
    expected = [[0, 0.5, 1], [1, 1.5, 2], [2, 2.5, 3]]
    np.testing.assert_allclose(grid, expected, rtol=0, atol=1e-6)


def test_misspelt_glob_names_the_nearest(file):
    message = _error(file(_tensors()), resize={"haed": kd.ckpts.KeepInit()})
    assert (
        "`resize`: nothing in this run is called 'haed'. Did you mean 'head'?"
        in message
    )
    message = _error(file(_tensors()), ignore_model_keys=["haed"])
    assert (
        "`ignore_model_keys`: nothing in this run is called 'haed'. Did you mean"
        in (message)
    )
    message = _error(file(_tensors()), ignore_restored_keys=["net.po"])
    assert "nothing in the file is called 'net.po'. Did you mean 'net.pos'?" in message


def test_layout_of_another_family_is_recognised(file):
    names = ["conv1.weight", "bn1.weight", "bn1.running_mean", "layer1.0.conv1.weight"]
    tensors = {name: np.zeros((3, 3), np.float32) for name in names}
    message = _error(file(tensors), layout="timm_vit")
    assert (
        "does not have the names of 'timm_vit': such as 'bn1.running_mean'" in message
    )
    assert (
        "These are the names of 'timm_resnet', for `kd.nn.ResNet`: say "
        "`layout='timm_resnet'`" in message
    )


def test_names_below_a_prefix_are_found_and_can_be_read(file):
    tensors = _tensors()
    path = file({f"model.{n}": x for n, x in tensors.items()} | {"step": np.zeros(1)})
    assert "They are below 'model.': say `prefix='model.'`" in _error(path)
    filled = _fill(path, prefix="model.")
    np.testing.assert_array_equal(filled["params"]["head"]["bias"], tensors["fc.bias"])


def test_prefix_of_no_name_is_told(file):
    message = _error(file(_tensors()), prefix="module.")
    assert "begins with 'module.': there are 'net.bn" in message


def test_index_that_does_not_fit_its_files_is_told(file):
    path = file(_tensors(), max_shard_bytes=64)
    (index,) = path.parent.glob("*.index.json")
    index.write_text(index.read_text().replace("fc.bias", "fc.bais"))
    message = _error(index)
    assert "The index says that" in message
    assert "the files are of several exports" in message


def test_a_run_finds_it_before_anything_is_compiled(file):
    specs = jax.eval_shape(lambda: _state(num_classes=2))
    weights = kd.ckpts.PretrainedWeights(path=file(_tensors()), layout=_LAYOUT)
    with pytest.raises(kd.ckpts.CheckpointError, match="expected float32"):
        kd.ckpts.MultiTransform(image=weights).check(specs)
    resize = {"head": kd.ckpts.KeepInit()}
    dataclasses.replace(weights, resize=resize).check(specs)


def test_files_without_head_may_lack_the_base(file):
    tensors = {
        n.removeprefix("net."): x for n, x in _tensors().items() if n.startswith("net.")
    }
    filled = _fill(file(tensors), ignore_model_keys=["head"])
    np.testing.assert_array_equal(filled["params"]["pos"], tensors["pos"][0])


def test_sub_model_is_filled_and_the_rest_stays(file):
    tensors = _tensors()
    variables = {
        "params": {
            "trunk": {"encoder": _variables()["params"]},
            "decoder": jnp.zeros(2),
        },
        "batch_stats": {"trunk": {"encoder": _variables()["batch_stats"]}},
    }
    path = file(tensors)
    hint = "Those below 'trunk.encoder' are: say `into='trunk.encoder'`"
    assert hint in _error(path, variables)
    filled = _fill(path, variables, into="trunk.encoder")
    encoder = filled["params"]["trunk"]["encoder"]
    np.testing.assert_array_equal(encoder["head"]["bias"], tensors["fc.bias"])
    np.testing.assert_array_equal(
        filled["batch_stats"]["trunk"]["encoder"]["norm"]["mean"],
        tensors["net.bn.running_mean"],
    )
    np.testing.assert_array_equal(filled["params"]["decoder"], np.zeros(2))


def test_model_of_another_kind_is_told(file):
    tensors = {"conv1.weight": np.zeros((3, 3, 1, 1), np.float32)}
    variables = {"params": {"encoder": {"cls": jnp.zeros(3)}}}
    message = _error(file(tensors), variables, layout="timm_resnet")
    assert "The layout 'timm_resnet' fills `kd.nn.ResNet`" in message
    assert "'params.encoder.cls'" in message
    assert "They are of `kd.nn.VitClassifier`: timm_vit, hf_vit." in message


def test_truncated_file_is_told(file):
    path = file(_tensors())
    path.write_bytes(path.read_bytes()[:-10])
    message = _error(path)
    assert str(path) in message
    assert "cannot be read as safetensors" in message


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"")
    message = _error(path)
    assert "is a pickle of PyTorch, which runs code when it is read" in message
    assert "safetensors.torch.save_file" in message


def test_missing_file_names_the_nearest(file):
    path = file(_tensors())
    with pytest.raises(kd.ckpts.NoCheckpointError, match=r"Did you mean 'theirs\.safe"):
        _fill(path.with_name("their.safetensors"))


def test_misspelt_layout_names_the_nearest():
    with pytest.raises(kd.ckpts.CheckpointError, match="Did you mean 'timm_resnet'"):
        kd.ckpts.PretrainedWeights(path="x", layout="tim_resnet")


def test_text_instead_of_a_list_is_refused():
    with pytest.raises(kd.ckpts.CheckpointError, match="`ignore_model_keys` is a list"):
        kd.ckpts.PretrainedWeights(
            path="x", layout="timm_vit", ignore_model_keys="head"
        )


def test_resizers_are_checked_by_type_on_construction():
    for resize, words in [
        ({"head": "keep"}, r"`resize\['head'\]` must be a resizer.*got 'keep'"),
        ({"head": kd.ckpts.KeepInit}, "must be a resizer"),
        (["head"], "`resize` is a dict"),
    ]:
        with pytest.raises(kd.ckpts.CheckpointError, match=words):
            kd.ckpts.PretrainedWeights(path="x", layout="timm_vit", resize=resize)
        with pytest.raises(kd.ckpts.CheckpointError, match=words):
            kd.ckpts.PartialKauldronLoader(workdir="x", new_to_old={}, resize=resize)


def test_empty_path_is_not_the_current_folder():
    assert "path of the safetensors is empty" in _error("")


def test_shapes_alone_cannot_keep_initial_values(file):
    specs = jax.eval_shape(_variables)
    message = _error(file(_tensors()), specs, ignore_model_keys=["head"])
    assert "params.head.kernel keeps its initial value, and there is none" in message


def test_first_rule_whose_tensors_are_there_counts(file):
    layout = _P.Layout(
        name="tied",
        model="Tied",
        rules=(
            _P.Rule("embed.weight", "params.embed"),
            _P.Rule("lm_head.weight", "params.head", "vocab embed -> embed vocab"),
            _P.Rule("embed.weight", "params.head", "vocab embed -> embed vocab"),
        ),
    )
    variables = {"params": {"embed": jnp.zeros((4, 2)), "head": jnp.zeros((2, 4))}}
    embed, head = _RNG.standard_normal((2, 4, 2)).astype(np.float32)
    untied = _fill(
        file({"embed.weight": embed, "lm_head.weight": head}), variables, layout
    )
    np.testing.assert_array_equal(untied["params"]["head"], head.T)
    tied = _fill(file({"embed.weight": embed}), variables, layout)
    np.testing.assert_array_equal(tied["params"]["head"], embed.T)


def test_tensor_of_an_alternative_that_lacks_another_is_named(file):
    layout = _P.Layout(
        name="parts",
        model="Parts",
        rules=(
            _P.Rule("whole", "params.x"),
            _P.Rule(("low", "high"), "params.x", _Halves()),
        ),
    )
    variables = {"params": {"x": jnp.zeros(4)}}
    tensors = {"whole": np.ones(4, np.float32), "low": np.ones(2, np.float32)}
    message = _error(file(tensors), variables, layout=layout)
    assert "low, float32[2]: no rule uses it" in message
    halves = {"low": np.float32([1, 2]), "high": np.float32([3, 4])}
    filled = _fill(file(halves), variables, layout)
    np.testing.assert_array_equal(filled["params"]["x"], [1, 2, 3, 4])


class _Halves:
    """A form of its own: two tensors behind one another."""

    def to_ours(self, theirs, shapes):
        del shapes
        return [np.concatenate(theirs)]

    def to_theirs(self, ours):
        return np.split(ours[0], 2)


def test_written_files_are_what_was_read(file, tmp_path):
    tensors = _tensors()
    filled = _fill(file(tensors))
    path = tmp_path / "ours.safetensors"
    kd.ckpts.save_pretrained(filled, path, _LAYOUT, prefix="model.")
    found = dict(kd.ckpts.SafetensorsFiles(path))
    del tensors["net.bn.num_batches_tracked"]
    assert found.keys() == {f"model.{name}" for name in tensors}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[f"model.{name}"], tensor)


def test_variable_without_a_place_is_not_written(tmp_path):
    variables = _variables()
    variables["params"]["adapter"] = jnp.zeros(3)
    path = tmp_path / "ours.safetensors"
    message = "'toy' has no place for:\n  params.adapter"
    with pytest.raises(kd.ckpts.CheckpointError, match=re.escape(message)):
        kd.ckpts.save_pretrained(variables, path, _LAYOUT)
    assert not path.exists()
    kd.ckpts.save_pretrained(variables, path, _LAYOUT, ignore_model_keys=["adapter"])
    assert path.exists()
    with pytest.raises(kd.ckpts.CheckpointError, match=r"'adpter'. Did you mean"):
        kd.ckpts.save_pretrained(variables, path, _LAYOUT, ignore_model_keys=["adpter"])


def test_file_that_cannot_be_written_is_named_with_the_reason(tmp_path):
    path = tmp_path / "nowhere" / "ours.safetensors"
    message = f"{str(path)!r} could not be written: there is no folder"
    with pytest.raises(OSError, match=re.escape(message)):
        kd.ckpts.save_pretrained(_variables(), path, _LAYOUT)


def test_a_config_says_it_and_flags_change_it(file):
    with konfig.mock_modules():
        cfg = konfig.ConfigDict(
            {
                "init_transform": kd.ckpts.PretrainedWeights(
                    path="a.safetensors",
                    layout="timm_resnet",
                    resize={"head": kd.ckpts.KeepInit()},
                )
            }
        )
    cfg.init_transform.path = "b.safetensors"
    weights = konfig.resolve(cfg).init_transform
    assert weights == kd.ckpts.PretrainedWeights(
        path="b.safetensors",
        layout="timm_resnet",
        resize={"head": kd.ckpts.KeepInit()},
    )


def test_sharded_variables_get_their_parts(file):
    layout = _P.Layout(
        name="heads",
        model="Heads",
        rules=(
            _P.Rule(
                "qkv",
                ("params.query", "params.value"),
                "(heads head_dim) embed -> embed heads head_dim",
            ),
        ),
    )
    mesh = jax.make_mesh((8,), ("tensor",))
    placement = jax.sharding.NamedSharding(
        mesh, jax.sharding.PartitionSpec(None, "tensor")
    )
    spec = jax.ShapeDtypeStruct((5, 8, 2), jnp.float32, sharding=placement)
    qkv = _RNG.standard_normal((32, 5)).astype(np.float32)
    filled = _fill(
        file({"qkv": qkv}), {"params": {"query": spec, "value": spec}}, layout
    )
    value = filled["params"]["value"]
    assert value.sharding == placement
    for shard in value.addressable_shards:
        head = shard.index[1].start
        rows = qkv[16 + 2 * head : 18 + 2 * head]
        np.testing.assert_array_equal(shard.data[:, 0], rows.T)


@pytest.mark.slow
def test_a_run_starts_with_the_weights_as_other_transforms_do(tmp_path):
    from examples import digits_classifier

    path = tmp_path / "resnet.safetensors"
    model = kd.nn.ResNet(
        stage_sizes=(1,), features=(4,), num_classes=10, stem="small", image="image"
    )
    with kd.nn.set_train_property(False):
        specs = jax.eval_shape(
            model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1), jnp.float32)
        )
    theirs = jax.tree.map(lambda x: _RNG.standard_normal(x.shape, np.float32), specs)
    kd.ckpts.save_pretrained(theirs, path, "timm_resnet")

    cfg = digits_classifier.get_config()
    trainer = konfig.resolve(cfg).replace(model=model.clone(image="batch.image"))
    make = functools.partial(
        kd.ckpts.PretrainedWeights, path=path, layout="timm_resnet"
    )
    kd.testing.check_init_transform(make, trainer)
    state = trainer.replace(init_transform=make()).init_state()
    jax.tree.map(np.testing.assert_array_equal, state.params, theirs["params"])
    jax.tree.map(
        np.testing.assert_array_equal,
        dict(state.collections),
        {"batch_stats": theirs["batch_stats"]},
    )


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_heads_that_shapes_do_not_tell_are_those_of_config_json(tmp_path, num_heads):
    # 8 features: the matrices are the same for 1, 2, 4 or 8 heads.
    encoder = kd.nn.VitEncoder.from_variant_str(
        "mu/4", hidden_size=8, num_heads=2, mlp_size=8, num_layers=1
    )
    theirs = kd.nn.VitClassifier(encoder=encoder, num_classes=3, pooling="mean")
    image = jnp.zeros((1, 8, 8, 3))
    variables = jax.jit(theirs.init)(jax.random.key(0), image)
    kd.ckpts.save_pretrained(variables, tmp_path / "model.safetensors", "hf_vit")
    (tmp_path / "config.json").write_text('{"num_attention_heads": 2}')
    encoder = kd.nn.VitEncoder.from_variant_str(
        "mu/4", hidden_size=8, num_heads=num_heads, mlp_size=8, num_layers=1
    )
    model = kd.nn.VitClassifier(encoder=encoder, num_classes=3, pooling="mean")
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    load = kd.ckpts.PretrainedWeights(tmp_path / "model.safetensors", "hf_vit")
    if num_heads == 2:
        load.fill(variables)
    else:
        with pytest.raises(
            kd.ckpts.CheckpointError, match=rf"{num_heads} heads.*num_attention_heads=2"
        ):
            load.fill(variables)
