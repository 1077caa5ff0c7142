"""Colours for numbers: labels, boxes, instances; neighbours are easily told apart."""

from __future__ import annotations

import colorsys

import numpy as np


def palette(num_colors: int) -> np.ndarray:
    """Returns colours that are easily told apart, `Float32["num_colors 3"]` in [0,
    1]."""
    return colors_of(np.arange(num_colors))


def colors_of(ids: np.ndarray) -> np.ndarray:
    """Returns the colours of numbers `Int["n"]` >= 0 in the palette, `Float32["n 3"]`
    in [0, 1]."""
    hues = (0.6 + ids * 0.618034) % 1  # golden ratio: never close
    values = np.array([1.0, 0.75, 0.9])[ids % 3]
    colors = [
        colorsys.hsv_to_rgb(h, 0.75, v) for h, v in zip(hues, values, strict=True)
    ]
    return np.asarray(colors, np.float32).reshape(len(ids), 3)
