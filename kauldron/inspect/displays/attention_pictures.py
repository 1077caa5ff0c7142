"""Weights of attention as pictures: on an image, as a grid with labels, in characters."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kauldron.inspect.displays import galleries

_SHADES = " ░▒▓█"
# Texts wider than this are cut; more keys than that have no labels.
_LABEL_WIDTH, _MAX_LABELS = 12, 64
_MAX_PIXELS = 128
_MAX_HEADS = 16
_MAX_TEXT = 40
_SIDE = 160  # on the screen, in pixels
_CELL = 14  # with labels
# Seen on light and on dark grounds.
_BLUE, _ORANGE = (59, 130, 246), (1.0, 0.45, 0.0)

escape = html.escape


class Grid(NamedTuple):
    """How keys lie on an image.

    Attributes:
      height: Rows of patches.
      width: Columns of patches.
      num_before: Keys before the first patch, such as a token of the class.
      query: Whose attention is drawn; `None` for the mean of all.
    """

    height: int
    width: int
    num_before: int
    query: int | None


def grid_of(
    image_size: tuple[int, int], shape: tuple[int, ...], query: int | None
) -> Grid | None:
    """Returns how keys lie on an image: as many patches as fill its sides, or `None`.

    Args:
      image_size: Height and width.
      shape: Heads, queries, keys.
      query: The query that is asked for.
    """
    height, width = image_size
    *_, num_queries, num_keys = shape
    for num_before in range(min(9, num_keys)):
        num_patches = num_keys - num_before
        rows = round((num_patches * height / width) ** 0.5)
        if rows < 2 or num_patches % rows:
            continue
        columns = num_patches // rows
        if columns < 2:
            continue
        if rows * width == columns * height and height % rows == 0:
            if query is None and num_before and num_queries == num_keys:
                query = 0
            return Grid(rows, columns, num_before, query)
    return None


def on_grid(head: np.ndarray, grid: Grid) -> np.ndarray:
    """Returns the weights of the patches, `f32[rows columns]`."""
    row = head.mean(0) if grid.query is None else head[grid.query]
    return row[grid.num_before :].reshape(grid.height, grid.width)


def as_text(head: np.ndarray, grid: Grid | None, labels: Sequence[str]) -> str:
    """Returns weights as characters: the darker the more, of each query by itself."""
    if grid is not None:
        return "\n".join(_shaded(on_grid(head, grid)))
    small = _pooled(head, _MAX_TEXT)
    lines = _shaded(_by_query(small))
    if len(labels) != head.shape[0] or small.shape != head.shape:
        return "\n".join(lines)
    names = [_cut(label) for label in labels]
    width = max(map(len, names))
    return "\n".join(
        f"{name.rjust(width)} |{line}" for name, line in zip(names, lines, strict=True)
    )


def as_html(
    heads: Sequence[tuple[str, np.ndarray]],
    grid: Grid | None,
    image: np.ndarray | None,
    labels: Sequence[str],
) -> str:
    """Returns a picture for each head, side by side.

    Args:
      heads: Name -> weights `f32[t s]`.
      grid: How the keys lie on the image, if they do.
      image: `[h w c]`.
      labels: Texts of the keys; of the queries, too, if there are as many.
    """
    parts = []
    if grid is not None and image is not None:
        parts.append(_figure(_to_image(_rgb(image)), "image"))
    for name, head in heads[: _MAX_HEADS + 1]:
        if grid is not None and image is not None:
            patches = on_grid(head, grid)
            drawn = _over_image(patches, grid, image)
            told = f"{patches.min():.2g} to {patches.max():.2g}"
        else:
            drawn, told = _heat_map(head, labels), f"up to {head.max():.2g}"
        parts.append(_figure(drawn, f"{name}, {told}"))
    if len(heads) > _MAX_HEADS + 1:
        parts.append(f"<div>The first {_MAX_HEADS} of {len(heads) - 1} heads.</div>")
    return "".join(parts)


def _figure(drawn: str, caption: str) -> str:
    return (
        "<figure style='display:inline-block;margin:4px;vertical-align:top'>"
        f"{drawn}<figcaption style='font:11px system-ui'>{escape(caption)}"
        "</figcaption></figure>"
    )


def _rgb(image: np.ndarray) -> np.ndarray:
    pixels, _ = galleries.to_unit(image)
    return np.broadcast_to(pixels[..., :3], (*pixels.shape[:-1], 3))


def _over_image(patches: np.ndarray, grid: Grid, image: np.ndarray) -> str:
    """Returns the image in grey, the more orange the more is attended to a patch.

    From the least of the patches to the most: where all are near each other, the image
    would vanish otherwise.
    """
    grey = _rgb(image).mean(-1, keepdims=True)
    height, width = grey.shape[:2]
    spread = float(patches.max() - patches.min())
    alpha = (patches - patches.min()) / max(spread, 1e-30)
    alpha = alpha.repeat(height // grid.height, 0).repeat(width // grid.width, 1)
    alpha = 0.75 * alpha[..., None]
    return _to_image(grey * (1 - alpha) + np.array(_ORANGE) * alpha)


def _to_image(pixels: np.ndarray) -> str:
    data = _to_data(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    return (
        f"<img src='{data}' alt='attention' "
        f"style='height:{_SIDE}px;image-rendering:pixelated'>"
    )


def _heat_map(head: np.ndarray, labels: Sequence[str]) -> str:
    """Returns an SVG: a pixel for each pair, with labels where they can be read."""
    small = _pooled(head, _MAX_PIXELS)
    alpha = _by_query(small)
    rgba = np.zeros((*small.shape, 4), np.uint8)
    rgba[..., :3] = _BLUE
    rgba[..., 3] = np.round(255 * alpha)
    data = _to_data(rgba)
    num_rows, num_columns = small.shape
    has_labels = len(labels) == head.shape[1] <= _MAX_LABELS
    cell = _CELL if has_labels else max(_SIDE / max(small.shape), 1)
    width, height = cell * num_columns, cell * num_rows
    texts, left, top = [], 0.0, 0.0
    if has_labels:
        names = [_cut(label) for label in labels]
        margin = 7.0 * max(map(len, names)) + 6
        top, left = margin, margin if num_rows == num_columns else 0.0
        for i, name in enumerate(names):
            x, y = left + (i + 0.7) * cell, top + (i + 0.7) * cell
            texts.append(
                f"<text transform='translate({x:.1f} {top - 4:.1f}) rotate(-90)'>"
                f"{escape(name)}</text>"
            )
            if left:
                texts.append(
                    f"<text x='{left - 4:.1f}' y='{y:.1f}' text-anchor='end'>"
                    f"{escape(name)}</text>"
                )
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{left + width:.0f}' "
        f"height='{top + height:.0f}' font-family='ui-monospace,Menlo,Consolas,"
        f"monospace' font-size='11' fill='currentColor'>{''.join(texts)}"
        f"<image href='{data}' x='{left:.1f}' y='{top:.1f}' width='{width:.1f}' "
        f"height='{height:.1f}' preserveAspectRatio='none' "
        "style='image-rendering:pixelated'/>"
        f"<rect x='{left:.1f}' y='{top:.1f}' width='{width:.1f}' "
        f"height='{height:.1f}' fill='none' stroke='currentColor' opacity='.3'/></svg>"
    )


def _shaded(values: np.ndarray) -> list[str]:
    scaled = values / max(float(values.max()), 1e-30)
    index = np.round(scaled * (len(_SHADES) - 1)).astype(int)
    return ["".join(_SHADES[i] * 2 for i in row).rstrip() for row in index]


def _by_query(values: np.ndarray) -> np.ndarray:
    """Returns weights of which the largest of each query is 1.

    Of a causal layer, the first queries would outshine all others: they see few keys.
    """
    return values / np.maximum(values.max(-1, keepdims=True), 1e-30)


def _pooled(values: np.ndarray, limit: int) -> np.ndarray:
    """Returns at most `limit` rows and columns, the largest of each block."""
    for axis in (0, 1):
        step = -(-values.shape[axis] // limit)
        if step > 1:
            starts = np.arange(0, values.shape[axis], step)
            values = np.maximum.reduceat(values, starts, axis=axis)
    return values


def _cut(label: str) -> str:
    text = label.replace("\n", "\\n").replace("\t", "\\t")
    return text if len(text) <= _LABEL_WIDTH else text[: _LABEL_WIDTH - 1] + "…"


def _to_data(pixels: np.ndarray) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
