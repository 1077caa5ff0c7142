"""Transforms whose published arguments differ from those of `kd.data`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kauldron.data.transforms import _resampling, base, images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resize(base.ElementWiseTransform):
    """Changes the size of images `[*b h w c]`; the dtype stays.

    Attributes:
      height: New height in pixels.
      width: New width in pixels.
      method: As in `kd.data.Resize`; `'AUTO'` is nearest for integers and area for
        floats.
    """

    height: int
    width: int
    method: str = "AUTO"

    def map_element(self, element: Any) -> np.ndarray:
        values = np.asarray(element)
        method = images.auto_method(self.method, values.dtype)
        return _resampling.resize(values, (self.height, self.width), method=method)

    map_batch = map_element
