"""Pictures, clips, slices and texts of batches, side by side."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Iterator, Mapping

import numpy as np

from kauldron import kontext, summaries
from kauldron.ktyping import PyTree
from kauldron.recording import picture_files
from kauldron.summaries import distinct_colors

# Sizes on the screen, in pixels.
_LOWEST, _HIGHEST = 100, 250
_FPS = 25.0
_CLIP_SECS = 5.0
_CHANNELS = (1, 3, 4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One example to look at.

    Attributes:
      label: Below it.
      content: PNG or GIF, or a text.
      height: On the screen, in pixels.
    """

    label: str
    content: bytes | str
    height: int = _LOWEST

    def to_html(self) -> str:
        if isinstance(self.content, str):
            body = (
                f"<pre style='white-space:pre-wrap'>{html.escape(self.content)}</pre>"
            )
        else:
            kind = "gif" if self.content.startswith(b"GIF") else "png"
            data = base64.b64encode(self.content).decode()
            body = (
                f"<img src='data:image/{kind};base64,{data}' "
                f"alt='{html.escape(self.label)}' "
                f"style='height:{self.height}px;image-rendering:pixelated'>"
            )
        return (
            "<figure style='display:inline-block;margin:4px;max-width:40em;"
            f"vertical-align:top'>{body}<figcaption style='font:11px system-ui'>"
            f"{html.escape(self.label)}</figcaption></figure>"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gallery:
    """Rows of examples; notebooks show them, terminals tell what there is.

    Attributes:
      rows: Name of the row -> what is in it.
      notes: What is not shown, and why.
    """

    rows: Mapping[str, tuple[Item, ...]]
    notes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        parts = [
            f"<div class='kd-title'><b>{html.escape(name)}</b></div>"
            + "".join(item.to_html() for item in items)
            for name, items in self.rows.items()
        ]
        notes = "".join(f"<div>{html.escape(note)}</div>" for note in self.notes)
        return "".join(parts) + notes

    def __str__(self) -> str:
        lines = []
        for name, items in self.rows.items():
            pictures = sum(isinstance(item.content, bytes) for item in items)
            lines.append(f"{name}: {pictures} pictures" if pictures else f"{name}:")
            lines += [
                f"  {item.label}: {item.content}"
                for item in items
                if isinstance(item.content, str)
            ]
        return "\n".join([*lines, *self.notes]) or "nothing to show"

    __repr__ = __str__


def plot_batch(batch: PyTree, *, num: int = 8) -> Gallery:
    """Returns the first examples of a batch to look at.

    Arrays `[b h w 1|3|4]` are images, `[b t h w 1|3]` clips, `[b z y x 1]` beside a
    geometry the middle slices of volumes, texts texts. Integers whose values are more
    than 0 and 1 and which are no `u8` are label images: a colour each. Floats beyond
    [0, 1] are stretched to what they have, and the label says so.

    Args:
      batch: Tree of arrays, with a batch axis.
      num: How many examples of each array.
    """
    rows: dict[str, tuple[Item, ...]] = {}
    skipped = []
    for path, value in kontext.flatten_with_path(batch).items():
        name, array = f"batch.{path}", np.asarray(value)
        items = tuple(_items(array, num, is_volume=_has_geometry(batch, str(path))))
        if items:
            rows[name] = items
        elif array.ndim >= 4:
            skipped.append(f"{name} is not shown: its shape is {list(array.shape)}.")
    return Gallery(rows=rows, notes=tuple(skipped))


def to_item(array: np.ndarray, label: str) -> Item | None:
    """Returns an image, clip or text of one example; `None` for anything else."""
    return next(
        iter(_items(np.asarray(array)[None], 1, is_volume=False, name=label)), None
    )


def _items(
    array: np.ndarray, num: int, *, is_volume: bool, name: str | None = None
) -> Iterator[Item]:
    if array.dtype.kind in "USO" or array.dtype.kind == "T":
        for i, text in enumerate(array.reshape(-1)[:num]):
            text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
            yield Item(label=name or str(i), content=str(text))
        return
    if array.ndim == 5 and is_volume:
        array = array[:, array.shape[1] // 2]
    if array.ndim not in (4, 5) or array.shape[-1] not in _CHANNELS or not array.size:
        return
    for i, example in enumerate(array[:num]):
        image, told = to_unit(example)
        height = int(np.clip(image.shape[-3] * 2, _LOWEST, _HIGHEST))
        label = f"{name or i}{told}"
        if array.ndim == 5:
            fps = min(len(image) / _CLIP_SECS, _FPS)
            [content] = summaries.Video(image[None, ..., :3], fps=fps).to_gifs()
        else:
            content = picture_files.to_png(image[..., :3])
        yield Item(label=label, content=content, height=height)


def to_unit(example: np.ndarray) -> tuple[np.ndarray, str]:
    """Returns floats in [0, 1], and what was done to the values, in words."""
    if example.dtype == np.uint8:
        return example.astype(np.float32) / 255, ""
    if example.dtype == bool or example.dtype.kind in "iu":
        if example.size and example.max() > 1 and example.shape[-1] == 1:
            return _label_image(example[..., 0]), ""
        return example.astype(np.float32), ""
    example = example.astype(np.float32)
    finite = example[np.isfinite(example)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    if low >= 0 and high <= 1:
        return np.nan_to_num(example), ""
    scale = high - low if high > low else 1.0
    return np.nan_to_num((example - low) / scale), f" ({low:.3g} to {high:.3g})"


def _label_image(labels: np.ndarray) -> np.ndarray:
    """Returns a colour for each label; 0 is black."""
    found, places = np.unique(labels, return_inverse=True)
    colors = distinct_colors.colors_of(np.maximum(found, 0))
    colors[found <= 0] = 0
    return colors[places].reshape(*labels.shape, 3)


def _has_geometry(batch: PyTree, path: str) -> bool:
    return isinstance(batch, Mapping) and f"{path}_geometry" in batch
