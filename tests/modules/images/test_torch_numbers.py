"""The same weights give the numbers of PyTorch, MONAI and nnU-Net's networks.

`make_torch_outputs.py` says how the expected numbers were made.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import re
import tempfile

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import traverse_util

from kauldron import kd
from kauldron.modules import _norms
from tests.modules.images import torch_arrays

_HERE = pathlib.Path(__file__).parent
EXPECTED = np.load(_HERE / "torch_outputs.npz")
TENSORS = json.loads((_HERE / "torch_tensors.json").read_text())

# f32 sums in another order, through some 20 layers.
TOLERANCE = {"rtol": 1e-4, "atol": 3e-5}

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "negative_slope": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A model of ours, and how its names become those of PyTorch.

    Attributes:
      model: The module.
      renames: Patterns of our names and what they become, all applied in this order.
      transposed: Pattern of their names of transposed convolutions.
      layout: Of `kd.ckpts.PretrainedWeights`, instead of the two.
    """

    model: nn.Module
    renames: tuple[tuple[str, str], ...] = ((r".*\.", ""),)
    transposed: str = "$^"
    layout: str | None = None


class Normalised(nn.Module):
    norm: _norms.Norm

    @nn.compact
    def __call__(self, x):
        return _norms.make_norm(self.norm, owner=self, num_spatial_axes=2, name="norm")(
            x
        )


LAYERS = {
    "conv1d": Case(kd.nn.Conv(3, (3,), strides=2, kernel_dilation=2)),
    "conv2d": Case(
        kd.nn.Conv(6, (3, 3), strides=(2, 1), feature_group_count=2),
    ),
    "conv3d": Case(kd.nn.Conv(3, (1, 3, 3), strides=2)),
    "transposed1d": Case(kd.nn.ConvTranspose(3, (4,)), transposed="weight"),
    "transposed2d": Case(kd.nn.ConvTranspose(3, (3, 3)), transposed="weight"),
    "transposed3d": Case(
        kd.nn.ConvTranspose(3, (1, 2, 2), strides=(1, 2, 2)), transposed="weight"
    ),
    "instance": Case(Normalised("instance")),
    "group": Case(Normalised(nn.GroupNorm(2, epsilon=1e-5))),
    "batch": Case(Normalised("batch")),
    "nearest": Case(kd.nn.Upsample((2, 2), "nearest")),
    "linear": Case(kd.nn.Upsample((2, 2), "linear")),
}

_TORCHVISION = (
    (r"conv(\d)\.norm", r"bn\1"),
    (r"conv(\d)\.conv", r"conv\1"),
    (r"shortcut\.conv", "downsample.0"),
    (r"shortcut\.norm", "downsample.1"),
)
BLOCKS = {
    "basic": Case(kd.nn.ResidualBlock(6, strides=2), _TORCHVISION),
    "bottleneck": Case(
        kd.nn.ResidualBlock(8, strides=2, bottleneck_features=2), _TORCHVISION
    ),
    "squeezed": Case(
        kd.nn.ResidualBlock(
            16,
            strides=2,
            shortcut="pool",
            norm="instance",
            activation="leaky_relu",
            use_bias=True,
            squeeze_ratio=1 / 16,
        ),
        (
            ("shortcut", "skip.1"),
            (r"excitation\.squeeze", "excitation.fc1"),
            (r"excitation\.excite", "excitation.fc2"),
        ),
    ),
    "gate": Case(
        kd.nn.AttentionGate(4),
        (
            (r"\.conv", ".0.conv"),
            (r"\.norm", ".1"),
            ("^gating", "W_g"),
            ("^skip", "W_x"),
            ("^factor", "psi"),
        ),
    ),
}

_RESIDUAL = functools.partial(
    kd.nn.UNet,
    num_classes=3,
    features=(4, 6, 8),
    is_residual=True,
    decoder_blocks=1,
    has_deep_supervision=True,
)
NETWORKS = {
    "monai2d": Case(
        kd.nn.ResidualUNet(num_classes=3, features=(4, 6, 8)),
        layout="monai_unet",
    ),
    "monai3d": Case(
        kd.nn.ResidualUNet(
            num_classes=2,
            features=(2, 4, 4),
            kernel_size=(3, 3, 3),
            strides=(2, 1),
            num_res_units=0,
        ),
        layout="monai_unet",
    ),
    "plain1d": Case(
        kd.nn.UNet(
            num_classes=3,
            features=(4, 6, 8),
            kernel_size=(3,),
            encoder_blocks=1,
            decoder_blocks=(1, 2),
            has_deep_supervision=True,
        ),
        layout="nnunet",
    ),
    "residual2d": Case(_RESIDUAL(encoder_blocks=(1, 2, 1)), layout="nnunet"),
    "residual3d": Case(
        _RESIDUAL(
            kernel_size=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
            strides=((1, 2, 2), 2),
            encoder_blocks=1,
        ),
        layout="nnunet",
    ),
    "nested": Case(
        kd.nn.UNetPlusPlus(
            num_classes=2,
            features=(2, 2, 4, 8, 16),
            activation=functools.partial(jax.nn.leaky_relu, negative_slope=0.1),
            has_deep_supervision=True,
        ),
        (
            (r"node(0)_(0)_(\d)", r"conv_\1_\2.conv_\3"),
            (r"node(\d)_(0)_(\d)", r"conv_\1_\2.convs.conv_\3"),
            (r"node(\d)_(\d)_(\d)", r"upcat_\1_\2.convs.conv_\3"),
            (r"up(\d)_(\d)\.conv", r"upcat_\1_\2.upsample.deconv"),
            (r"head(\d)", r"final_conv_0_\1"),
            (r"\.norm", ".adn.N"),
        ),
        "deconv",
    ),
    "patches": Case(
        kd.nn.PatchDiscriminator(features=2, num_layers=2),
        (
            ("conv0", "0"),
            ("conv1", "2"),
            ("norm1", "3"),
            ("conv2", "5"),
            ("norm2", "6"),
            ("head", "8"),
        ),
    ),
    "mixer": Case(
        kd.nn.MlpMixer(
            num_classes=3,
            patch_size=(4, 4),
            features=6,
            num_layers=2,
            tokens_mlp_features=3,
            channels_mlp_features=12,
        ),
        (
            ("patchifier", "stem.proj"),
            (r"block(\d)_tokens_norm", r"blocks.\1.norm1"),
            (r"block(\d)_channels_norm", r"blocks.\1.norm2"),
            (r"block(\d)_(tokens|channels)_in", r"blocks.\1.mlp_\2.fc1"),
            (r"block(\d)_(tokens|channels)_out", r"blocks.\1.mlp_\2.fc2"),
        ),
    ),
    "warp": Case(kd.nn.SpatialTransformer()),
}


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def their_weights(case, variables):
    """Fills variables with the arrays that the tensors of the same names have."""

    def fill(path, leaf):
        *modules, name = path[1:]
        theirs = ".".join([*modules, _LEAVES[name]])
        for pattern, replacement in case.renames:
            theirs = re.sub(pattern, replacement, theirs)
        if name != "kernel":
            shape = leaf.shape or (1,)
            return torch_arrays.array(theirs, shape).reshape(leaf.shape)
        *space, channels, features = leaf.shape
        if re.search(case.transposed, theirs):
            x = torch_arrays.array(theirs, (channels, features, *space))
            return np.moveaxis(np.flip(x, range(2, x.ndim)), (0, 1), (-2, -1))
        x = torch_arrays.array(theirs, (features, channels, *space))
        return np.moveaxis(x, (0, 1), (-1, -2))

    flat = traverse_util.flatten_dict(variables)
    return traverse_util.unflatten_dict({k: fill(k, v) for k, v in flat.items()})


def weights_from_file(case, variables, name, **kwargs):
    """Fills variables from a file with the tensors of the network."""
    tensors = {
        theirs: torch_arrays.array(theirs, shape)
        for theirs, shape in TENSORS[name].items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/theirs.safetensors"
        kd.ckpts.save_safetensors(tensors, path)
        weights = kd.ckpts.PretrainedWeights(path=path, layout=case.layout, **kwargs)
        return weights.fill(variables)


def apply(case, name, *, is_training=False):
    """Returns what a model makes of the inputs of a case, and its batch statistics."""
    inputs = [channels_last(x) for x in torch_arrays.inputs_of(name)]
    with kd.nn.set_train_property(is_training):
        shapes = jax.eval_shape(case.model.init, jax.random.key(0), *inputs)
        run = jax.jit(
            functools.partial(case.model.apply, mutable=["batch_stats"]),
            compiler_options={"xla_backend_optimization_level": 0},
        )
        if case.layout is None:
            return run(their_weights(case, shapes), *inputs)
        return run(weights_from_file(case, shapes, name), *inputs)


def check(case, name):
    y, _ = apply(case, name)
    outputs = [y["logits"], *y.get("deep", [])] if isinstance(y, dict) else [y]
    if name == "nested":  # theirs are ordered the other way round
        outputs.reverse()
    for i, y in enumerate(outputs):
        expected = channels_last(EXPECTED[f"{name}.{i}"])
        np.testing.assert_allclose(y, expected, **TOLERANCE)
    assert f"{name}.{len(outputs)}" not in EXPECTED


@pytest.mark.parametrize("name", LAYERS)
def test_layers_give_the_numbers_of_pytorch(name):
    check(LAYERS[name], name)


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_give_the_numbers_of_pytorch(name):
    check(BLOCKS[name], name)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_the_numbers_of_pytorch(name):
    check(NETWORKS[name], name)


def test_heads_that_nothing_trained_can_be_left_out():
    model = _RESIDUAL(encoder_blocks=(1, 2, 1), has_deep_supervision=False)
    case = Case(model, layout="nnunet")
    inputs = [channels_last(x) for x in torch_arrays.inputs_of("residual2d")]
    with kd.nn.set_train_property(False):
        variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    with pytest.raises(kd.ckpts.CheckpointError, match=r"seg_layers\.0"):
        weights_from_file(case, variables, "residual2d")
    ignored = ["decoder.seg_layers"]
    filled = weights_from_file(
        case, variables, "residual2d", ignore_restored_keys=ignored
    )
    head = torch_arrays.array("decoder.seg_layers.1.bias", (3,))
    np.testing.assert_array_equal(filled["params"]["head1"]["bias"], head)
    assert "head0" not in filled["params"]


def test_batch_norm_in_training_gives_the_numbers_of_pytorch():
    y, updated = apply(LAYERS["batch"], "batch", is_training=True)
    expected = channels_last(EXPECTED["batch training.0"])
    np.testing.assert_allclose(y, expected, **TOLERANCE)
    # The script runs the batch in evaluation first, which changes no statistics.
    stats = updated["batch_stats"]["norm"]
    np.testing.assert_allclose(stats["mean"], EXPECTED["batch mean"], **TOLERANCE)
    # PyTorch's running variance has a factor n / (n - 1), here of 30 values, in its
    # share of the new batch, 0.1.
    old = torch_arrays.array("running_var", (4,))
    theirs = (EXPECTED["batch var"] - 0.9 * old) * 29 / 30 + 0.9 * old
    np.testing.assert_allclose(stats["var"], theirs, **TOLERANCE)
