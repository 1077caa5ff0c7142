"""Boxes and segmentation masks drawn on images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import einops
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, metrics
from kauldron.ktyping import Array, typechecked
from kauldron.summaries import _pictures, distinct_colors


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowBoxes(metrics.Metric):
    """Images with frames around boxes.

    Attributes:
      images: Key to images, `(Float | UInt8 | UInt16 | Bool)["*b h w c"]` with 1 or 3
        channels, as `ShowImages` takes them.
      boxes: Key to `[ymin, xmin, ymax, xmax]` in [0, 1], relative to the image,
        `Float["*b n 4"]`. Box i has colour i in all images. A side that is beyond the
        image is drawn at its border; a box that is all outside, NaN or inside out is
        not drawn.
      boxes_mask: Key to which boxes exist, `Array["*b n"]` or `Array["*b n 1"]`.
      num_images: How many to show.
      num_colors: After how many boxes the colours begin again.
      in_vrange: Range of the pixel values; it is mapped to [0, 1].
      rearrange: Einops pattern to the shape `n h w c`, applied after drawing; all
        leading axes are flattened unless given.
      rearrange_kwargs: Sizes of the axes in `rearrange`.

    Raises:
      ValueError: If the shapes don't fit.
    """

    images: kontext.Key = kontext.REQUIRED
    boxes: kontext.Key = kontext.REQUIRED
    boxes_mask: kontext.Key | None = None
    num_images: int = 5
    num_colors: int = 16
    in_vrange: tuple[float, float] | None = None
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
    def get_state(
        self,
        images: Array["+b h w c"],
        boxes: Array["+b n 4"],
        boxes_mask: Array["+b n"] | Array["+b n 1"] | None = None,
    ) -> _pictures.FirstState:
        images, boxes = jnp.asarray(images), jnp.asarray(boxes)
        batch = images.shape[:-3]
        if images.ndim < 4 or boxes.shape != (*batch, *boxes.shape[-2:-1], 4):
            raise ValueError(
                "ShowBoxes needs images `[*b h w c]` and boxes `[*b n 4]`: got images "
                f"{images.shape} (key {self.images!r}) and boxes {boxes.shape} (key "
                f"{self.boxes!r})."
            )
        if boxes_mask is None:
            boxes_mask = jnp.ones(boxes.shape[:-1], bool)
        elif boxes_mask.shape not in (boxes.shape[:-1], (*boxes.shape[:-1], 1)):
            raise ValueError(
                f"`boxes_mask` must be {boxes.shape[:-1]}, as the boxes (key "
                f"{self.boxes_mask!r}): got {boxes_mask.shape}."
            )
        mask = jnp.reshape(boxes_mask, boxes.shape[:-1]).astype(bool)
        # Without a pattern, axes are flattened now, so that no more than needed is kept.
        if self.rearrange is None:
            size = math.prod(batch)  # not -1: there may be no boxes
            images, boxes, mask = (
                x.reshape(size, *x.shape[len(batch) :]) for x in (images, boxes, mask)
            )
        data = {"images": images, "boxes": boxes, "mask": mask}
        return self.State(data={k: v[: self.num_images] for k, v in data.items()})

    def show(self, data: dict[str, np.ndarray]) -> np.ndarray:
        """Returns `Float32["n h w 3"]` in [0, 1]."""
        images = _pictures.to_unit_range(data["images"], self.in_vrange)
        images = _pictures.to_rgb(images)
        colors = distinct_colors.palette(self.num_colors)
        for at in np.ndindex(*images.shape[:-3]):
            boxes = zip(data["boxes"][at], data["mask"][at], strict=True)
            for i, (box, exists) in enumerate(boxes):
                if exists:
                    _draw_frame(images[at], box, colors[i % self.num_colors])
        images = _pictures.rearrange(
            images, self.rearrange, self.rearrange_kwargs, name="ShowBoxes"
        )
        return images[: self.num_images]


def _draw_frame(image: np.ndarray, box: np.ndarray, color: np.ndarray) -> None:
    """Draws the outline of a box in place, inwards; sides outside are moved inside."""
    height, width = image.shape[:2]
    eps = float(jnp.finfo(box.dtype).eps) if box.dtype.kind not in "iub" else 0.0
    box = box.astype(np.float64)
    is_outside = np.any(box[:2] >= 1) or np.any(box[2:] <= 0)
    if is_outside or not np.isfinite(box).all():
        return
    size = np.array([height, width, height, width])
    # What is this close to the border between two pixels is meant to be on it.
    near = np.maximum(size * eps, 1e-4) * [1, 1, -1, -1]
    y0, x0, y1, x1 = np.clip(np.floor(box * size + near), 0, size - 1).astype(int)
    if y0 > y1 or x0 > x1:
        return
    for i in range(max(1, round(min(height, width) / 150))):  # to be seen when shrunk
        top, left, bottom, right = y0 + i, x0 + i, y1 - i, x1 - i
        if top > bottom or left > right:
            return
        image[[top, bottom], left : right + 1] = color
        image[top : bottom + 1, [left, right]] = color


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowSegmentations(metrics.Metric):
    """Segmentations in colours, over the image if there is one.

    Attributes:
      segmentations: Key to class ids, `Int["*b h w 1"]` of any integers, or
        probabilities of classes, `Float["*b h w k"]`, whose colours are mixed. Ids
        below 0 (what is not labelled, often -1) and NaN are black.
      images: Key to images to lie below, `(Float | UInt8 | UInt16 | Bool)["*b h w c"]`,
        as `ShowImages` takes them.
      num_images: How many to show.
      entropy: Whether uncertain pixels are darker, for probabilities.
      hard: Whether only the most probable class is shown, for probabilities.
      palette: Colour of each class, `Array["k 3"]` in [0, 1], or the name of a
        matplotlib colour map with as many colours. Beyond the last, colours begin
        again.
      rearrange: Einops pattern to the shape `n h w c`; all leading axes are flattened
        unless given.
      rearrange_kwargs: Sizes of the axes in `rearrange`.
      edges: Whether borders between classes are drawn.
      edge_lightness: Grey of the borders, 0 black to 1 white.
      image_contrast: How much of the image's light and dark is seen, 0 to 1.

    Raises:
      ValueError: If the shapes or the palette don't fit.
    """

    segmentations: kontext.Key = kontext.REQUIRED
    images: kontext.Key | None = None
    num_images: int = 5
    entropy: bool = False
    hard: bool = False
    palette: str | Sequence[Sequence[float]] | None = None
    rearrange: str | None = None
    rearrange_kwargs: Mapping[str, int] | None = None
    edges: bool = False
    edge_lightness: float = 1.0
    image_contrast: float = 0.6

    State = _pictures.FirstState

    @property
    def num_shown(self) -> int:
        """How many images are kept of an evaluation, the first ones."""
        return self.num_images

    @typechecked
    def get_state(
        self, segmentations: Array, images: Array | None = None
    ) -> _pictures.FirstState:
        segmentations = self._flatten(jnp.asarray(segmentations))
        is_id = not jnp.issubdtype(segmentations.dtype, jnp.floating)
        if is_id and segmentations.shape[-1] != 1:
            raise ValueError(
                "ShowSegmentations needs class ids `i[*b h w 1]` or probabilities "
                f"`f[*b h w k]`: key {self.segmentations!r} is {segmentations.dtype} "
                f"{segmentations.shape}."
            )
        data = {"segmentations": segmentations[: self.num_images]}
        if images is not None:
            below = self._flatten(jnp.asarray(images))
            if below.shape[:-1] != segmentations.shape[:-1]:
                raise ValueError(
                    "ShowSegmentations needs an image for each segmentation: got images "
                    f"{below.shape} and segmentations {segmentations.shape}."
                )
            data["images"] = below[: self.num_images]
        return self.State(data=data)

    def show(self, data: dict[str, np.ndarray]) -> np.ndarray:
        """Returns `Float32["n h w 3"]` in [0, 1]."""
        segmentations = data["segmentations"]
        is_soft = segmentations.shape[-1] > 1
        if is_soft:
            labels = segmentations.argmax(axis=-1)
            colors = self._mix(segmentations.astype(np.float32), labels)
        else:
            labels = _to_ids(segmentations[..., 0])
            colors = self._of_ids(labels)
        if "images" in data:
            light = _pictures.to_unit_range(data["images"]).mean(-1, keepdims=True)
            colors = colors * (1 - self.image_contrast + self.image_contrast * light)
        if self.edges:
            colors[_is_edge(labels)] = self.edge_lightness
        return np.clip(colors, 0, 1).astype(np.float32)

    def _of_ids(self, labels: np.ndarray) -> np.ndarray:
        # Of those that occur: the largest may be very large.
        ids, index = np.unique(labels, return_inverse=True)
        known = np.maximum(ids, 0)
        if self.palette is None:
            colors = distinct_colors.colors_of(known)
        elif isinstance(self.palette, str):
            colors = _of_colormap(self.palette, known / max(known.max(initial=0), 1))
        else:
            palette = self._palette(0)
            colors = palette[known % len(palette)]
        colors = np.where(ids[:, None] < 0, 0, colors)
        return colors[index.reshape(labels.shape)]

    def _mix(self, probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        num_classes = probs.shape[-1]
        palette = self._palette(num_classes)
        palette = palette[np.arange(num_classes) % len(palette)]
        colors = palette[labels] if self.hard else probs @ palette
        if self.entropy:
            nats = -np.sum(probs * np.log(np.maximum(probs, 1e-30)), axis=-1)
            colors = colors * (1 - nats / np.log(num_classes))[..., None]
        is_undefined = np.isnan(probs).any(axis=-1, keepdims=True)
        return np.where(is_undefined, 0, colors)

    def _palette(self, num_classes: int) -> np.ndarray:
        if self.palette is None:
            return distinct_colors.palette(num_classes)
        if isinstance(self.palette, str):
            return _of_colormap(self.palette, np.linspace(0, 1, num_classes))
        palette = np.asarray(self.palette, np.float32)
        if palette.ndim != 2 or palette.shape[-1] != 3:
            raise ValueError(f"`palette` must be `[k 3]`: got shape {palette.shape}.")
        return palette

    def _flatten(self, images: Array) -> Any:
        if self.rearrange is None and images.ndim == 3:
            images = images[None]
        pattern = self.rearrange or _pictures.FLATTEN
        return einops.rearrange(images, pattern, **(self.rearrange_kwargs or {}))


def _of_colormap(name: str, at: np.ndarray) -> np.ndarray:
    cmap = _pictures.colormap(name, summary="ShowSegmentations")
    return np.asarray(cmap(at))[:, :3]


def _to_ids(x: np.ndarray) -> np.ndarray:
    """Returns `i64`; -1 for what is not a finite number."""
    if x.dtype.kind in "iub":
        return x.astype(np.int64)
    x = x.astype(np.float64)
    return np.where(np.isfinite(x), x, -1).astype(np.int64)


def _is_edge(labels: np.ndarray) -> np.ndarray:
    """Returns where the pixel below or to the right has another label."""
    is_edge = np.zeros(labels.shape, bool)
    is_edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    is_edge[:, :, :-1] |= labels[:, :, :-1] != labels[:, :, 1:]
    return is_edge
