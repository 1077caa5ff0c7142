"""Confusion matrices as images."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import numpy as np

from kauldron import metrics
from kauldron.ktyping import Num

# In pixels.
_CELL = 40
_SMALL_CELL = 14  # a line of text fits
_MAX_WITH_NUMBERS = 40  # classes
_CORNER = "true \\ pred"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfusionMatrix(metrics.ConfusionMatrix):
    """Picture of how often each class was predicted as each class.

    Rows are true classes, columns predicted ones; the darker, the more.

    Attributes:
      logits: Key to scores, `Float["*b classes"]`; the prediction is the argmax.
      pred_labels: Key to predicted classes, `Int["*b 1"]`; exactly one of both is
        given.
      labels: Key to class ids, `Int["*b 1"]`.
      mask: Key to weights, `Array["*b 1"]`.
      num_classes: Number of classes; needed with `pred_labels`.
      ignored_label: True label of what is not counted (often 255 or -1).
      normalize: Whether each `'true'` class (row), each `'pred'` class (column), or
        `'all'` add up to 1, NaN where there is nothing; `None` gives counts.
      class_names: Names at the margins; class ids unless given.

    Returns of `compute`: an image, `Float32["1 h w 3"]`.

    Raises:
      ValueError: As `kd.metrics.ConfusionMatrix`, or if there are too few names.
    """

    class_names: tuple[str, ...] | None = None

    @flax.struct.dataclass
    class State(metrics.AutoState["ConfusionMatrix"]):
        """Counts, as `kd.metrics.ConfusionMatrix` has them."""

        counts: Num["*n classes classes+1"] = metrics.sum_field()

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
    """Returns a picture of a matrix, `Float32["h w 3"]` in [0, 1].

    Each number stands in its cell, as does NaN; of many classes there are only the
    shades.
    """
    from PIL import Image, ImageDraw

    is_known = ~np.isnan(values)
    is_counts = np.all(values[is_known] == np.round(values[is_known]))
    texts = [[f"{v:.0f}" if is_counts else f"{v:.2f}" for v in row] for row in values]
    values = np.where(is_known, values, 0)
    has_texts = len(values) <= _MAX_WITH_NUMBERS
    longest = max(len(text) for row in texts for text in row)
    cell = max(_CELL, _text_width(longest)) if has_texts else _SMALL_CELL
    margin = max(_CELL, _text_width(max(map(len, [*names, _CORNER]))))
    size = margin + cell * len(values)
    picture = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((4, 4), _CORNER, fill="gray", anchor="la")
    shades = values / (values.max() or 1)
    for i, name in enumerate(names):
        start = margin + cell * i
        draw.text((margin - 4, start + cell / 2), name, fill="black", anchor="rm")
        # Upright if there is room, else from bottom to top.
        if _text_width(len(name)) > cell:
            label = Image.new("RGB", (margin - 4, cell), "white")
            ImageDraw.Draw(label).text((0, cell / 2), name, fill="black", anchor="lm")
            picture.paste(label.transpose(Image.Transpose.ROTATE_90), (start, 0))
        else:
            draw.text((start + cell / 2, margin - 4), name, fill="black", anchor="mb")
        for j, shade in enumerate(shades[i]):
            left, top = margin + cell * j, start
            color = tuple(round(255 - shade * (255 - c)) for c in (8, 48, 107))
            draw.rectangle((left, top, left + cell - 2, top + cell - 2), fill=color)
            if has_texts:
                middle = (left + cell / 2, top + cell / 2)
                ink = "white" if shade > 0.5 else "black"
                draw.text(middle, texts[i][j], fill=ink, anchor="mm")
    return np.asarray(picture, np.float32) / 255


def _text_width(num_letters: int) -> int:
    return 8 + 7 * num_letters
