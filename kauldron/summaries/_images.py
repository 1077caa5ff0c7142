"""Images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import einops
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, metrics
from kauldron.metrics import base_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowImages(metrics.Metric):
    """The first images of a batch (of the first batches, in an evaluation).

    Attributes:
      images: Key to images, `f|u8[*b h w c]` with 1 or 3 channels. `uint8` is divided by
        255.
      num_images: How many to show.
      in_vrange: Range of the values; it is mapped to [0, 1]. `None` means they are in
        [0, 1] already. Values outside are clipped.
      cmap: Name of a matplotlib colour map, for one channel.
      rearrange: Einops pattern to the shape `n h w c`; all leading axes are flattened
        unless given.
      rearrange_kwargs: Sizes of the axes in `rearrange`.

    Raises:
      ValueError: If the shape is not that of images, or `cmap` meets several channels.
    """

    images: kontext.Key = kontext.REQUIRED
    num_images: int = 5
    in_vrange: tuple[float, float] | None = None
    cmap: str | None = None
    rearrange: str | None = None
    rearrange_kwargs: Mapping[str, int] | None = None

    @flax.struct.dataclass
    class State(base_state.State["ShowImages"]):
        """The images collected so far, `f32|u8[n h w c]`; `None` for none."""

        images: Any

        @classmethod
        def empty(cls) -> Self:
            return cls(images=None)

        def merge(self, other: Self) -> Self:
            if self.images is None or other.images is None:
                return other if self.images is None else self
            missing = self.parent.num_images - len(self.images)
            if missing <= 0:  # decided by shapes alone: nothing is moved
                return self
            images = [np.asarray(self.images), np.asarray(other.images[:missing])]
            return type(self)(images=np.concatenate(images))

        def compute(self) -> np.ndarray | dict[str, Any]:
            if self.images is None:
                return {}
            return self.parent._to_displayed(np.asarray(self.images))

    def get_state(self, images: jax.Array) -> State:
        images = jnp.asarray(images)
        if self.rearrange is None and images.ndim == 3:
            images = images[None]
        pattern = self.rearrange or "... h w c -> (...) h w c"
        kwargs = self.rearrange_kwargs or {}
        images = einops.rearrange(images, pattern, **kwargs)
        if images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise ValueError(
                f"ShowImages needs images `[*b h w c]` with 1 or 3 channels: key "
                f"{self.images!r} has shape {images.shape} after {pattern!r}."
            )
        if self.cmap is not None and images.shape[-1] != 1:
            raise ValueError(
                f"`cmap={self.cmap!r}` needs images of one channel: got "
                f"{images.shape[-1]}."
            )
        return self.State(images=images[: self.num_images])

    def _to_displayed(self, images: np.ndarray) -> np.ndarray:
        """Returns `f32[n h w c]` in [0, 1]."""
        if images.dtype == np.uint8:
            images = images / np.float32(255)
        images = images.astype(np.float32)
        if self.in_vrange is not None:
            low, high = self.in_vrange
            images = (images - low) / (high - low)
        images = np.clip(images, 0, 1)
        if self.cmap is not None:
            images = _colormap(self.cmap)(images[..., 0])[..., :3].astype(np.float32)
        return images


def _colormap(name: str) -> Any:
    try:
        import matplotlib
    except ImportError:
        raise ImportError(
            "ShowImages(cmap=...) needs matplotlib: `pip install matplotlib`."
        ) from None
    return matplotlib.colormaps[name]
