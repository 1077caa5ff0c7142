"""Spatial and temporal transforms of images and videos."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import einops
import numpy as np

from kauldron import data
from kauldron._base import public

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlipUpsideDown(data.ElementWiseTransform):
    """Mirrors images `[*b h w c]` top to bottom, always."""

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        return np.flip(np.asarray(element), axis=-3)

    map_batch = map_element


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlattenVideo(data.ElementWiseTransform):
    """Lays the frames of videos `[*b t h w c]` below each other: `[*b t*h w c]`."""

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        return einops.rearrange(np.asarray(element), "... t h w c -> ... (t h) w c")

    map_batch = map_element


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpacetimeToDepth(data.ElementWiseTransform):
    """Makes channels of blocks of videos: `[*b t h w c]` to fewer, deeper pixels.

    The channels of a block are in the order time, height, width, channel.

    Attributes:
      temporal_block_size: Frames of a block.
      spatial_block_size: Height and width of a block in pixels.

    Raises:
      DataError: If the blocks do not fill the video.
    """

    temporal_block_size: int = 1
    spatial_block_size: int = 1

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        videos = np.asarray(element)
        sizes = (self.temporal_block_size, *(self.spatial_block_size,) * 2)
        if videos.ndim < 4 or any(
            n % block for n, block in zip(videos.shape[-4:-1], sizes, strict=True)
        ):
            raise data.DataError(
                f"SpacetimeToDepth({self.key!r}): blocks of {sizes} do not fill videos "
                f"`[*b t h w c]` of shape {videos.shape}. Crop or pad them first."
            )
        return einops.rearrange(
            videos,
            "... (t a) (h b) (w d) c -> ... t h w (a b d c)",
            **dict(zip("abd", sizes, strict=True)),
        )

    map_batch = map_element


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThreeSpatialCrop(data.ElementWiseTransform):
    """Cuts three squares out of images `[*b h w c]`: first, middle, last of the longer side.

    Attributes:
      size: Side of the squares in pixels; `None` takes the shorter side. Of the shorter
        side, the middle is taken.

    Returns: `[3 *b size size c]`.

    Raises:
      DataError: If the images are smaller.
    """

    size: int | None = None

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        images = np.asarray(element)
        sides = images.shape[-3:-1]
        size = min(sides) if self.size is None and len(sides) == 2 else self.size
        if images.ndim < 3 or size is None or min(sides) < size:
            raise data.DataError(
                f"ThreeSpatialCrop({self.key!r}): an array of shape {images.shape} is "
                f"smaller than {size} x {size} pixels, or no image."
            )
        rooms = [side - size for side in sides]
        longer = int(sides[1] > sides[0])
        crops = []
        for third in (0, rooms[longer] // 2, rooms[longer]):
            top, left = (r // 2 for r in rooms)
            top, left = (top, third) if longer else (third, left)
            crops.append(images[..., top : top + size, left : left + size, :])
        return np.stack(crops)


public.move(FlipUpsideDown, "kauldron.contrib.data.py")
