"""Image, image difference and video summaries."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from kauldron import kontext, metrics
from kauldron.ktyping import Array, typechecked
from kauldron.summaries import _pictures, _values


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowImages(metrics.Metric):
    """The first images of a batch (of the first batches, in an evaluation).

    Attributes:
      images: Key to images, `(Float | UInt8 | UInt16 | Bool)["*b h w c"]` with 1 or 3
        channels. `uint8` is divided by 255, `uint16` by 65535. NaN is black.
      num_images: How many to show.
      in_vrange: Range of the values (after division, if any); it is mapped to [0, 1].
        `None` means they are in [0, 1] already. Values outside are clipped.
      cmap: Name of a matplotlib colour map, for one channel.
      rearrange: Einops pattern to the shape `n h w c`; all leading axes are flattened
        unless given.
      rearrange_kwargs: Sizes of the axes in `rearrange`.

    Raises:
      ValueError: If the shape is not that of images, `cmap` meets several channels, the
        range is empty, or images of other integers are beyond [0, 1] without a range.
    """

    images: kontext.Key = kontext.REQUIRED
    num_images: int = 5
    in_vrange: tuple[float, float] | None = None
    cmap: str | None = None
    rearrange: str | None = None
    rearrange_kwargs: Mapping[str, int] | None = None

    State = _pictures.FirstState

    def __post_init__(self) -> None:
        super().__post_init__()
        _pictures.check_vrange(self, "in_vrange")

    @property
    def num_shown(self) -> int:
        """How many images are kept of an evaluation, the first ones."""
        return self.num_images

    @typechecked
    def get_state(self, images: Array) -> _pictures.FirstState:
        name = f"ShowImages(images={self.images!r})"
        images = _pictures.rearrange(
            jnp.asarray(images), self.rearrange, self.rearrange_kwargs, name=name
        )
        if self.cmap is not None and images.shape[-1] != 1:
            raise ValueError(
                f"`cmap={self.cmap!r}` needs images of one channel: got "
                f"{images.shape[-1]}."
            )
        return self.State(data=images[: self.num_images])

    def show(self, images: np.ndarray) -> np.ndarray:
        """Returns `Float32["n h w 1|3"]` in [0, 1]."""
        images = _pictures.to_unit_range(images, self.in_vrange)
        if self.cmap is not None:
            cmap = _pictures.colormap(self.cmap, summary="ShowImages")
            images = cmap(images[..., 0])[..., :3].astype(np.float32)
        return images


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowDifferenceImages(metrics.Metric):
    """Where two images differ: `images1 - images2`, mean of the channels, as a colour.

    Attributes:
      images1: Key to images, `Array["*b h w c"]` of any numbers; `uint8` is divided by
        255, `uint16` by 65535.
      images2: Key to images of the same shape.
      num_images: How many to show.
      vrange: Differences that get the first and the last colour; `None` takes the
        greatest finite difference shown, both ways, so that 0 is in the middle. NaN is
        black.
      cmap: Name of a matplotlib colour map; `'gray'` needs no matplotlib.
      rearrange: Einops pattern to the shape `n h w c`; all leading axes are flattened
        unless given.
      rearrange_kwargs: Sizes of the axes in `rearrange`.

    Raises:
      ValueError: If the shapes differ or are not those of images.
    """

    images1: kontext.Key = kontext.REQUIRED
    images2: kontext.Key = kontext.REQUIRED
    num_images: int
    vrange: tuple[float, float] | None = None
    cmap: str = "gray"
    rearrange: str | None = None
    rearrange_kwargs: Mapping[str, int] | None = None

    State = _pictures.FirstState

    def __post_init__(self) -> None:
        super().__post_init__()
        _pictures.check_vrange(self, "vrange")

    @property
    def num_shown(self) -> int:
        """How many images are kept of an evaluation, the first ones."""
        return self.num_images

    @typechecked
    def get_state(
        self, images1: Array["*a"], images2: Array["*a"]
    ) -> _pictures.FirstState:
        if images1.shape != images2.shape:
            raise ValueError(
                "ShowDifferenceImages needs images of the same shape: got "
                f"{images1.shape} (key {self.images1!r}) and {images2.shape} (key "
                f"{self.images2!r})."
            )
        name = f"ShowDifferenceImages(images1={self.images1!r})"
        both = [
            _pictures.rearrange(
                jnp.asarray(x), self.rearrange, self.rearrange_kwargs, name=name
            )[: self.num_images]
            for x in (images1, images2)
        ]
        return self.State(data=tuple(both))

    def show(self, both: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Returns `Float32["n h w 1|3"]` in [0, 1]."""
        first, second = (_pictures.to_float(x) for x in both)
        with np.errstate(invalid="ignore"):  # of two infinities: NaN
            difference = (first - second).mean(axis=-1, keepdims=True)
        vrange = self.vrange
        if vrange is None:
            sizes = np.abs(difference[np.isfinite(difference)])
            largest = float(sizes.max(initial=0)) or 1.0
            vrange = (-largest, largest)
        images = _pictures.to_unit_range(difference, vrange)
        if self.cmap == "gray":
            return images
        cmap = _pictures.colormap(self.cmap, summary="ShowDifferenceImages")
        return cmap(images[..., 0])[..., :3].astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowVideos(metrics.Metric):
    """The first videos.

    Attributes:
      videos: Key to videos, `(Float | UInt8 | UInt16 | Bool)["*b t h w c"]` with 1 or 3
        channels. `uint8` is divided by 255, `uint16` by 65535. NaN is black.
      num_videos: How many to show.
      fps: Frames per second.
      in_vrange: Range of the values (after division, if any); it is mapped to [0, 1].

    Returns of `compute`: a `Video`; nothing if there are no videos.

    Raises:
      ValueError: If the shape is not that of videos, the range is empty, or videos of
        other integers are beyond [0, 1] without a range.
    """

    videos: kontext.Key = kontext.REQUIRED
    num_videos: int = 1
    fps: float = 10.0
    in_vrange: tuple[float, float] | None = None

    State = _pictures.FirstState

    def __post_init__(self) -> None:
        super().__post_init__()
        _pictures.check_vrange(self, "in_vrange")

    @property
    def num_shown(self) -> int:
        """How many videos are kept of an evaluation, the first ones."""
        return self.num_videos

    @typechecked
    def get_state(self, videos: Array["*b t h w 1|3"]) -> _pictures.FirstState:
        videos = jnp.asarray(videos)
        if videos.ndim < 4 or videos.shape[-1] not in (1, 3):
            raise ValueError(
                f"ShowVideos needs videos `[*b t h w 1|3]`: key {self.videos!r} has "
                f"shape {videos.shape}."
            )
        videos = videos.reshape(-1, *videos.shape[-4:])
        return self.State(data=videos[: self.num_videos])

    def show(self, videos: np.ndarray) -> _values.Video:
        """Returns the videos with values in [0, 1]."""
        frames = _pictures.to_unit_range(videos, self.in_vrange)
        return _values.Video(frames=frames, fps=self.fps)
