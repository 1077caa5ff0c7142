"""The networks of LPIPS and FID with few channels, and both again in plain NumPy.

Weights are random, in the names and layouts of PyTorch (`[out in h w]`); images are
`[b c h w]` here. The networks are written down a second time, layer by layer, from the
papers and the published implementations, with no line shared with the package.
"""

from __future__ import annotations

import functools
import pathlib
import tempfile

import numpy as np

from kauldron.metrics import networks

_VGG = {1: (0, 2), 2: (5, 7), 3: (10, 12, 14), 4: (17, 19, 21), 5: (24, 26, 28)}


def vgg_state_dict(rng: np.random.Generator) -> dict[str, np.ndarray]:
    state, channels = {}, 3
    for stage, layers in _VGG.items():
        for index in layers:
            name, width = f"net.slice{stage}.{index}", 2 + stage
            state[f"{name}.weight"] = rng.normal(0, 0.3, (width, channels, 3, 3))
            state[f"{name}.bias"] = rng.normal(0, 0.1, width)
            channels = width
        state[f"lin{stage - 1}.model.1.weight"] = rng.random((1, channels, 1, 1))
    return {name: x.astype(np.float32) for name, x in state.items()}


@functools.cache
def _directory() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory()


@functools.cache
def vgg_file() -> str:
    """Writes the weights of the small VGG; it lives as long as the process."""
    path = pathlib.Path(_directory().name) / "vgg.npz"
    state = vgg_state_dict(np.random.default_rng(0))
    networks.save(path, networks.convert_lpips_vgg(state))
    return str(path)


def numpy_lpips(state, pred, target):
    """Distances `[b]` of images `[b c h w]` in [-1, 1]."""
    shift = np.array([-0.030, -0.088, -0.188])[:, None, None]
    scale = np.array([0.458, 0.448, 0.450])[:, None, None]
    x, y = (pred - shift) / scale, (target - shift) / scale
    total = 0
    for stage, layers in _VGG.items():
        if stage > 1:
            x, y = pool(x, 2, 2, "max"), pool(y, 2, 2, "max")
        for index in layers:
            weight, bias = (
                state[f"net.slice{stage}.{index}.{kind}"] for kind in ("weight", "bias")
            )
            x, y = (
                np.maximum(conv(z, weight, pad=(1, 1)) + bias[:, None, None], 0)
                for z in (x, y)
            )
        difference = np.square(_unit(x) - _unit(y))
        lin = state[f"lin{stage - 1}.model.1.weight"][0]
        total = total + (difference * lin).sum(1).mean((1, 2))
    return total


def _unit(x):
    return x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-10)


def conv(x, weight, *, stride=1, pad=(0, 0)):
    """Convolution of `[b c h w]` with `[out c h w]`."""
    x = np.pad(x, ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (2, 3))
    windows = windows[:, :, ::stride, ::stride]
    return np.einsum("bcijhw,ochw->boij", windows, weight)


def pool(x, size, stride, kind, pad=0):
    """Pooling of `[b c h w]`; what lies beyond the border does not count."""
    x = np.pad(x, ((0, 0), (0, 0), (pad,) * 2, (pad,) * 2), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
    windows = windows[:, :, ::stride, ::stride]
    return (np.nanmax if kind == "max" else np.nanmean)(windows, axis=(4, 5))


class NumpyInception:
    """Inception-v3 as the FID has it; its random weights are made as they are needed."""

    def __init__(self, rng: np.random.Generator, width: int = 2) -> None:
        self.state: dict[str, np.ndarray] = {}
        self._rng = rng
        self._width = width

    def _basic(self, x, name, size, *, stride=1, pad=(0, 0)):
        """Convolution, batch normalisation, ReLU."""
        rng, n, state = self._rng, self._width, self.state
        if f"{name}.conv.weight" not in state:
            new = {
                "conv.weight": rng.normal(0.5, 1.2, (n, x.shape[1], *size))
                / np.sqrt(x.shape[1] * np.prod(size)),
                "bn.weight": rng.uniform(0.5, 1.5, n),
                "bn.bias": rng.normal(0.2, 0.1, n),
                "bn.running_mean": rng.normal(0, 0.1, n),
                "bn.running_var": rng.uniform(0.5, 1.5, n),
            }
            for part, value in new.items():
                state[f"{name}.{part}"] = value.astype(np.float32)
        weight, gain, bias, mean, variance = (
            state[f"{name}.{part}"].astype(np.float64)
            for part in (
                "conv.weight",
                "bn.weight",
                "bn.bias",
                "bn.running_mean",
                "bn.running_var",
            )
        )
        gain, bias, mean, variance = (
            v[:, None, None] for v in (gain, bias, mean, variance)
        )
        y = conv(x, weight, stride=stride, pad=pad)
        return np.maximum((y - mean) / np.sqrt(variance + 0.001) * gain + bias, 0)

    def __call__(self, x):
        """Features `[b n]` of images `[b 3 h w]` in [-1, 1]."""
        x = self._basic(x, "Conv2d_1a_3x3", (3, 3), stride=2)
        x = self._basic(x, "Conv2d_2a_3x3", (3, 3))
        x = self._basic(x, "Conv2d_2b_3x3", (3, 3), pad=(1, 1))
        x = pool(x, 3, 2, "max")
        x = self._basic(x, "Conv2d_3b_1x1", (1, 1))
        x = self._basic(x, "Conv2d_4a_3x3", (3, 3))
        x = pool(x, 3, 2, "max")
        for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self._a(x, name)
        x = self._b(x, "Mixed_6a")
        for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            x = self._c(x, name)
        x = self._d(x, "Mixed_7a")
        x = self._e(x, "Mixed_7b", "mean")
        x = self._e(x, "Mixed_7c", "max")
        return x.mean((2, 3))

    def _a(self, x, name):
        a = self._basic(x, f"{name}.branch1x1", (1, 1))
        b = self._basic(x, f"{name}.branch5x5_1", (1, 1))
        b = self._basic(b, f"{name}.branch5x5_2", (5, 5), pad=(2, 2))
        c = self._basic(x, f"{name}.branch3x3dbl_1", (1, 1))
        c = self._basic(c, f"{name}.branch3x3dbl_2", (3, 3), pad=(1, 1))
        c = self._basic(c, f"{name}.branch3x3dbl_3", (3, 3), pad=(1, 1))
        d = pool(x, 3, 1, "mean", pad=1)
        d = self._basic(d, f"{name}.branch_pool", (1, 1))
        return np.concatenate([a, b, c, d], 1)

    def _b(self, x, name):
        a = self._basic(x, f"{name}.branch3x3", (3, 3), stride=2)
        b = self._basic(x, f"{name}.branch3x3dbl_1", (1, 1))
        b = self._basic(b, f"{name}.branch3x3dbl_2", (3, 3), pad=(1, 1))
        b = self._basic(b, f"{name}.branch3x3dbl_3", (3, 3), stride=2)
        return np.concatenate([a, b, pool(x, 3, 2, "max")], 1)

    def _c(self, x, name):
        row, column = {"size": (1, 7), "pad": (0, 3)}, {"size": (7, 1), "pad": (3, 0)}
        a = self._basic(x, f"{name}.branch1x1", (1, 1))
        b = self._basic(x, f"{name}.branch7x7_1", (1, 1))
        b = self._basic(b, f"{name}.branch7x7_2", **row)
        b = self._basic(b, f"{name}.branch7x7_3", **column)
        c = self._basic(x, f"{name}.branch7x7dbl_1", (1, 1))
        c = self._basic(c, f"{name}.branch7x7dbl_2", **column)
        c = self._basic(c, f"{name}.branch7x7dbl_3", **row)
        c = self._basic(c, f"{name}.branch7x7dbl_4", **column)
        c = self._basic(c, f"{name}.branch7x7dbl_5", **row)
        d = self._basic(pool(x, 3, 1, "mean", pad=1), f"{name}.branch_pool", (1, 1))
        return np.concatenate([a, b, c, d], 1)

    def _d(self, x, name):
        a = self._basic(x, f"{name}.branch3x3_1", (1, 1))
        a = self._basic(a, f"{name}.branch3x3_2", (3, 3), stride=2)
        b = self._basic(x, f"{name}.branch7x7x3_1", (1, 1))
        b = self._basic(b, f"{name}.branch7x7x3_2", (1, 7), pad=(0, 3))
        b = self._basic(b, f"{name}.branch7x7x3_3", (7, 1), pad=(3, 0))
        b = self._basic(b, f"{name}.branch7x7x3_4", (3, 3), stride=2)
        return np.concatenate([a, b, pool(x, 3, 2, "max")], 1)

    def _e(self, x, name, pooling):
        row, column = {"size": (1, 3), "pad": (0, 1)}, {"size": (3, 1), "pad": (1, 0)}
        a = self._basic(x, f"{name}.branch1x1", (1, 1))
        b = self._basic(x, f"{name}.branch3x3_1", (1, 1))
        b1 = self._basic(b, f"{name}.branch3x3_2a", **row)
        b2 = self._basic(b, f"{name}.branch3x3_2b", **column)
        c = self._basic(x, f"{name}.branch3x3dbl_1", (1, 1))
        c = self._basic(c, f"{name}.branch3x3dbl_2", (3, 3), pad=(1, 1))
        c1 = self._basic(c, f"{name}.branch3x3dbl_3a", **row)
        c2 = self._basic(c, f"{name}.branch3x3dbl_3b", **column)
        d = self._basic(pool(x, 3, 1, pooling, pad=1), f"{name}.branch_pool", (1, 1))
        return np.concatenate([a, b1, b2, c1, c2, d], 1)
