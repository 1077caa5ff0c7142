"""The Inception-v3 network of FID, up to its last pooling layer.

It differs from the usual Inception-v3 in how borders are pooled, and takes a maximum in
its last block, as the network that the first FIDs were computed with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Array, Float, typechecked
from kauldron.metrics import _weights

# A block is branches, whose outputs are concatenated; a branch is steps, one after
# another. A step is a convolution by name, `/2` if it halves the size, or a pooling.
_A = (
    ("branch1x1",),
    ("branch5x5_1", "branch5x5_2"),
    ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
    ("mean", "branch_pool"),
)
_B = (
    ("branch3x3/2",),
    ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3/2"),
    ("max/2",),
)
_C = (
    ("branch1x1",),
    ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
    tuple(f"branch7x7dbl_{i}" for i in range(1, 6)),
    ("mean", "branch_pool"),
)
_D = (
    ("branch3x3_1", "branch3x3_2/2"),
    ("branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4/2"),
    ("max/2",),
)
_E_START = (
    ("branch1x1",),
    ("branch3x3_1", (("branch3x3_2a",), ("branch3x3_2b",))),
    (
        "branch3x3dbl_1",
        "branch3x3dbl_2",
        (("branch3x3dbl_3a",), ("branch3x3dbl_3b",)),
    ),
)
_BLOCKS = {
    "Mixed_5b": _A,
    "Mixed_5c": _A,
    "Mixed_5d": _A,
    "Mixed_6a": _B,
    "Mixed_6b": _C,
    "Mixed_6c": _C,
    "Mixed_6d": _C,
    "Mixed_6e": _C,
    "Mixed_7a": _D,
    "Mixed_7b": (*_E_START, ("mean", "branch_pool")),
    "Mixed_7c": (*_E_START, ("max", "branch_pool")),
}
_STEM = (
    "Conv2d_1a_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_2b_3x3",
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
)
_Branch: TypeAlias = "tuple[str | tuple[_Branch, ...], ...]"
_Block: TypeAlias = tuple[_Branch, ...]
_SIZE = 299  # pixels
_BATCH_NORM_EPS = 1e-3


@typechecked
def inception_features(
    weights: _weights.Weights, images: Float["*b h w 1|3"]
) -> Float["*b n"]:
    """Returns the features of images that the FID compares, `Float["*b 2048"]`.

    Args:
      weights: Arrays as `convert_inception` gives them.
      images: `Float["*b h w 1|3"]` in [-1, 1]; resized to 299 x 299 (bilinear).
    """
    x = _weights.to_rgb(images)
    x = jax.image.resize(x, (len(x), _SIZE, _SIZE, 3), method="linear", antialias=False)
    return pool_features(weights, x).reshape(*images.shape[:-3], -1)


def pool_features(weights: _weights.Weights, x: jax.Array) -> jax.Array:
    """Returns the features of images `Float["b h w 3"]` of any size from 75 x 75 on."""
    conv1, conv2, conv3, conv4, conv5 = _STEM
    x = _weights.conv(x, weights, conv1, stride=2, padding="VALID")
    x = _weights.conv(x, weights, conv2, padding="VALID")
    x = _weights.conv(x, weights, conv3)
    x = _weights.max_pool(x, size=3, stride=2)
    x = _weights.conv(x, weights, conv4)
    x = _weights.conv(x, weights, conv5, padding="VALID")
    x = _weights.max_pool(x, size=3, stride=2)
    for name, block in _BLOCKS.items():
        x = _run_block(x, weights, name, block)
    return x.mean(axis=(1, 2))


def _run_block(
    x: jax.Array, weights: _weights.Weights, name: str, block: _Block
) -> Any:
    outputs = []
    for branch in block:
        y = x
        for step in branch:
            y = _run_step(y, weights, name, step)
        outputs.append(y)
    return jnp.concatenate(outputs, axis=-1)


def _run_step(
    x: jax.Array, weights: _weights.Weights, name: str, step: str | _Block
) -> Any:
    if step == "mean":
        return _mean_pool(x)
    if step == "max":
        return _weights.max_pool(x, size=3, stride=1, padding="SAME")
    if step == "max/2":
        return _weights.max_pool(x, size=3, stride=2)
    if not isinstance(step, str):
        return _run_block(x, weights, name, step)
    layer = f"{name}.{step.removesuffix('/2')}"
    if step.endswith("/2"):
        return _weights.conv(x, weights, layer, stride=2, padding="VALID")
    return _weights.conv(x, weights, layer)


def _mean_pool(x: jax.Array) -> jax.Array:
    """Returns means of windows of 3 x 3; beyond the border nothing is counted."""
    window, strides = (1, 3, 3, 1), (1, 1, 1, 1)

    def add_up(y: Array) -> jax.Array:
        zero = np.zeros((), x.dtype)
        return jax.lax.reduce_window(y, zero, jax.lax.add, window, strides, "SAME")

    return add_up(x) / add_up(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def _layers(name: str, block: _Block | _Branch) -> Iterator[str]:
    for step in block:
        if not isinstance(step, str):
            yield from _layers(name, step)
        elif step not in ("mean", "max", "max/2"):
            yield f"{name}.{step.removesuffix('/2')}"


LAYERS = (*_STEM, *(x for name, block in _BLOCKS.items() for x in _layers(name, block)))
NAMES = tuple(f"{layer}.{kind}" for layer in LAYERS for kind in ("kernel", "bias"))


def convert_inception(state_dict: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the weights of `Fid` from those published for PyTorch.

    Args:
      state_dict: Name -> array (NumPy, or anything that becomes it), with the names of
        torchvision's `inception_v3`, as in the `pt_inception-2015-12-05` of the FID:
        `Mixed_5b.branch1x1.conv.weight`, `.bn.weight`, `.bn.bias`, `.bn.running_mean`,
        `.bn.running_var`, ... Others, such as `fc.weight`, are left out.

    Returns:
      `Mixed_5b.branch1x1.kernel` (`Float32["h w in out"]`), `Mixed_5b.branch1x1.bias`
      (`Float32["out"]`), ...: convolutions with the batch normalisation that follows,
      to be saved by `save`.

    Raises:
      WeightsError: A `ValueError`: an array is missing.
    """
    parts = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    names = [f"{layer}.{part}" for layer in LAYERS for part in parts]
    _weights.check(state_dict, names=names, source="The state dict of Inception-v3")
    converted = {}
    for layer in LAYERS:
        kernel, gain, bias, mean, variance = (
            np.asarray(state_dict[f"{layer}.{part}"], np.float64) for part in parts
        )
        scale = gain / np.sqrt(variance + _BATCH_NORM_EPS)
        kernel = kernel.transpose(2, 3, 1, 0) * scale
        converted[f"{layer}.kernel"] = kernel.astype(np.float32)
        converted[f"{layer}.bias"] = (bias - mean * scale).astype(np.float32)
    return converted
