"""The VGG-16 network of LPIPS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Float, typechecked
from kauldron.metrics import _weights

# Convolutions of each stage, by their place in the layers of the published network.
_STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_LAYERS = {
    index: f"conv{i}_{j}"
    for i, stage in enumerate(_STAGES, 1)
    for j, index in enumerate(stage, 1)
}
NAMES = (
    *(f"{layer}.{kind}" for layer in _LAYERS.values() for kind in ("kernel", "bias")),
    *(f"lin{i}" for i in range(1, 6)),
)
# Mean and spread of the images that the network was trained on, in [-1, 1].
_SHIFT = np.array([-0.030, -0.088, -0.188]).reshape(1, 1, 1, 3)
_SCALE = np.array([0.458, 0.448, 0.450]).reshape(1, 1, 1, 3)
MIN_SIZE = 16  # four times halved, one pixel is left


@typechecked
def lpips_vgg(
    weights: _weights.Weights, pred: Float["*b h w 1|3"], target: Float["*b h w 1|3"]
) -> Float["*b 1"]:
    """Returns the perceptual distance of each pair of images, `Float["*b 1"]`.

    Args:
      weights: Arrays as `convert_lpips_vgg` gives them.
      pred: Images, `Float["*b h w 1|3"]` in [-1, 1], at least 16 pixels high and wide.
      target: Images of the same shape.
    """
    batch = pred.shape[:-3]
    total = jnp.zeros(1, pred.dtype)
    for i, (x, y) in enumerate(
        zip(_features(weights, pred), _features(weights, target), strict=True), 1
    ):
        importance = weights[f"lin{i}"].astype(x.dtype)
        total = total + ((x - y) ** 2 @ importance).mean(axis=(-2, -1))
    return total.reshape(*batch, 1)


def _features(weights: _weights.Weights, images: jax.Array) -> list[jax.Array]:
    """Returns the outputs of the five stages, as vectors of length 1."""
    x = (_weights.to_rgb(images) - _SHIFT.astype(images.dtype)) / _SCALE.astype(
        images.dtype
    )
    outputs = []
    for i, stage in enumerate(_STAGES):
        x = _weights.max_pool(x, size=2, stride=2) if i else x
        for index in stage:
            x = _weights.conv(x, weights, _LAYERS[index])
        norm = jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True))
        outputs.append(x / (norm + 1e-10))
    return outputs


def convert_lpips_vgg(state_dict: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the weights of `LpipsVgg` from those published for PyTorch.

    Args:
      state_dict: Name -> array (NumPy, or anything that becomes it). Either that of
        `lpips.LPIPS(net="vgg")`, with names such as `net.slice1.0.weight` and
        `lin0.model.1.weight`; or that of torchvision's `vgg16` (`features.0.weight`)
        together with the `lin*` of LPIPS. Other names are left out.

    Returns:
      `conv1_1.kernel` (`Float32["3 3 in out"]`), `conv1_1.bias` (`Float32["out"]`),
      ..., `conv5_3.bias`, and `lin1` to `lin5` (`Float32["channels"]`), to be saved by
      `save`.

    Raises:
      WeightsError: A `ValueError`: an array is missing.
    """
    converted = {}
    for name, value in state_dict.items():
        if m := re.fullmatch(r"(?:features|net\.slice\d)\.(\d+)\.(weight|bias)", name):
            layer = _LAYERS.get(int(m[1]))
            if layer and m[2] == "weight":
                kernel = np.asarray(value, np.float32).transpose(2, 3, 1, 0)
                converted[f"{layer}.kernel"] = kernel
            elif layer:
                converted[f"{layer}.bias"] = np.asarray(value, np.float32)
        elif m := re.fullmatch(r"lins?\.?(\d)\.model\.\d\.weight", name):
            converted[f"lin{int(m[1]) + 1}"] = np.asarray(value, np.float32).ravel()
    _weights.check(converted, names=NAMES, source="The converted weights of LpipsVgg")
    return converted
