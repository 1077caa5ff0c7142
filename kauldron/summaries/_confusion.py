"""Confusion matrices as pictures."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import numpy as np

from kauldron import metrics

_CELL = 40  # pixels; a number of four digits fits


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfusionMatrix(metrics.ConfusionMatrix):
    """Picture of how often each class was predicted as each class.

    Rows are true classes, columns predicted ones; the darker, the more.

    Attributes:
      logits: Key to scores, `f[*b classes]`; the prediction is the argmax.
      pred_labels: Key to predicted classes, `i[*b 1]`; exactly one of both is given.
      labels: Key to class ids, `i[*b 1]`.
      mask: Key to weights, `[*b 1]`.
      num_classes: Number of classes; needed with `pred_labels`.
      ignored_label: True label of what is not counted (often 255 or -1).
      normalize: Whether each `'true'` class (row), each `'pred'` class (column), or
        `'all'` add up to 1; `None` gives counts.
      class_names: Names at the margins; class ids unless given.

    Returns of `compute`: an image, `f32[1 h w 3]`.

    Raises:
      ValueError: As `kd.metrics.ConfusionMatrix`, or if there are too few names.
    """

    class_names: tuple[str, ...] | None = None

    @flax.struct.dataclass
    class State(metrics.AutoState["ConfusionMatrix"]):
        """Counts, `i32|f32[classes classes]`; rows are true classes."""

        counts: Any = metrics.sum_field()

        def compute(self) -> Any:
            counts = super().compute().counts
            return {} if counts is None else self.parent._from_counts(counts)

    def _from_counts(self, counts: np.ndarray) -> np.ndarray:
        values = super()._from_counts(np.asarray(counts, np.float64))
        names = self.class_names or tuple(map(str, range(len(values))))
        if len(names) != len(values):
            raise ValueError(
                f"`class_names` must name {len(values)} classes: got {len(names)}."
            )
        return draw_matrix(values, names)[None]


def draw_matrix(values: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Returns a picture of a matrix, each number in its cell, `f32[h w 3]` in [0, 1]."""
    from PIL import Image, ImageDraw

    margin = max(_CELL, 8 + 7 * max(map(len, names)))
    size = margin + _CELL * len(values)
    picture = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(picture)
    shades = values / (values.max() or 1)
    is_counts = np.all(values == np.round(values))
    for i, name in enumerate(names):
        center = margin + _CELL * (i + 0.5)
        draw.text((margin - 4, center), name, fill="black", anchor="rm")
        draw.text((center, margin - 4), name, fill="black", anchor="mb")
        for j, value in enumerate(values[i]):
            left, top = margin + _CELL * j, margin + _CELL * i
            shade = shades[i, j]
            color = tuple(round(255 - shade * (255 - c)) for c in (8, 48, 107))
            draw.rectangle((left, top, left + _CELL - 2, top + _CELL - 2), fill=color)
            text = f"{value:.0f}" if is_counts else f"{value:.2f}"
            middle = (left + _CELL / 2, top + _CELL / 2)
            ink = "white" if shade > 0.5 else "black"
            draw.text(middle, text, fill=ink, anchor="mm")
    return np.asarray(picture, np.float32) / 255
