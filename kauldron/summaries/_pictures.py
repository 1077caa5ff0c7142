"""Shared parts of image summaries: collecting, value ranges, colour maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import einops
import flax.struct
import jax
import numpy as np

from kauldron import metrics
from kauldron.ktyping import Array, PyTree

FLATTEN = "... h w c -> (...) h w c"


@flax.struct.dataclass
class FirstState(metrics.AutoState):
    """The first examples, as far as `parent.num_shown` goes.

    Attributes:
      data: Tree of arrays with the examples as first axis.
    """

    data: PyTree[Array] = metrics.truncate_field(num_field="parent.num_shown")

    def compute(self) -> Any:
        """Returns what the summary makes of them; `{}` if there are none."""
        data = super().compute().data
        is_empty = any(len(x) == 0 for x in jax.tree.leaves(data))
        return {} if data is None or is_empty else self.parent.show(data)


def rearrange(
    images: Array, pattern: str | None, kwargs: Mapping[str, int] | None, *, name: str
) -> Any:
    """Returns images as `Array["n h w c"]`, or says why that is impossible.

    Raises:
      ValueError: If the result has another shape or other than 1 or 3 channels.
    """
    if pattern is None and images.ndim == 3:
        images = images[None]
    pattern = pattern or FLATTEN
    shape = images.shape
    try:
        images = einops.rearrange(images, pattern, **(kwargs or {}))
    except einops.EinopsError as e:
        raise ValueError(
            f"{name} needs images `[*b h w c]`: shape {shape} does not fit {pattern!r} "
            f"({str(e).splitlines()[-1].strip()})."
        ) from None
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"{name} needs images `[*b h w c]` with 1 or 3 channels: the shape is "
            f"{images.shape} after {pattern!r}."
        )
    return images


def to_unit_range(
    images: np.ndarray, vrange: tuple[float, float] | None = None
) -> np.ndarray:
    """Returns `f32` in [0, 1], see `to_float`; `vrange` is mapped to it linearly.

    Values outside are clipped. NaN is 0, black.

    Raises:
      ValueError: If images of other integers are beyond [0, 1], and there is no `vrange`.
    """
    images = np.asarray(images)
    is_scaled = vrange is not None or images.dtype in (np.uint8, np.uint16)
    if images.dtype.kind in "iu" and not is_scaled and images.size:
        low, high = images.min(), images.max()
        if low < 0 or high > 1:
            raise ValueError(
                f"Images of {images.dtype} have values from {low} to {high}: what is black "
                "and white? Make them `uint8` (0 to 255), `uint16` (0 to 65535) or floats "
                "(0 to 1), or say it by `in_vrange=(0, 255)`, for instance."
            )
    images = to_float(images)
    if vrange is not None:
        low, high = vrange
        images = (images - low) / (high - low)
    return np.nan_to_num(np.clip(images, 0, 1), nan=0.0)


def to_float(images: np.ndarray) -> np.ndarray:
    """Returns `f32`; `uint8` is divided by 255, `uint16` by 65535."""
    images = np.asarray(images)
    scale = np.iinfo(images.dtype).max if images.dtype in (np.uint8, np.uint16) else 1
    return images.astype(np.float32) / np.float32(scale)


def check_vrange(summary: metrics.Metric, field: str) -> None:
    """Raises unless a range is `None` or two different numbers.

    Raises:
      ValueError: If it is not.
    """
    vrange = getattr(summary, field)
    if vrange is None:
        return
    if len(vrange) != 2 or not np.isfinite(vrange).all() or vrange[0] == vrange[1]:
        raise ValueError(
            f"`{field}` of {type(summary).__name__} must be two different numbers, black "
            f"and white: got {tuple(vrange)}."
        )


def to_rgb(images: np.ndarray) -> np.ndarray:
    """Returns images `Array["... 1|3"]` with three channels, a copy."""
    return np.array(np.broadcast_to(images, (*images.shape[:-1], 3)), np.float32)


def colormap(name: str, *, summary: str) -> Any:
    """Returns a matplotlib colour map.

    Raises:
      ImportError: If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise ImportError(
            f"{summary}(cmap={name!r}) needs matplotlib: `pip install matplotlib`."
        ) from None
    return matplotlib.colormaps[name]
