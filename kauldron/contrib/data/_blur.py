"""Image blurring."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kauldron import data


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianBlur(data.ElementWiseRandomTransform):
    """Blurs images `[*b h w c]` with a Gaussian of random width; edges are mirrored.

    The dtype stays; integers are rounded.

    Attributes:
      sigma: (least, greatest) standard deviation in pixels; one number for that width
        always.
      kernel_size: Width of the window in pixels, odd; `None` reaches 3 sigma.
      probability: How often an example is blurred at all.

    Raises:
      DataError: If a parameter is out of range, or what is blurred is not an image.

    Reference: Chen et al. 2020, SimCLR, appendix A, arXiv:2002.05709.
    """

    sigma: float | tuple[float, float] = (0.1, 2.0)
    kernel_size: int | None = None
    probability: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self._bounds
        if not 0 < low <= high:
            raise data.DataError(
                f"GaussianBlur: `sigma` is (low, high) with 0 < low <= high: got "
                f"{self.sigma!r}."
            )
        size = self.kernel_size
        if size is not None and (size < 1 or size % 2 == 0):
            raise data.DataError(f"GaussianBlur: `kernel_size` is odd: got {size}.")
        if not 0 <= self.probability <= 1:
            raise data.DataError(
                f"GaussianBlur: `probability` is in [0, 1]: got {self.probability}."
            )

    @property
    def _bounds(self) -> tuple[float, float]:
        if isinstance(self.sigma, int | float):
            return self.sigma, self.sigma
        low, high = self.sigma
        return low, high

    def random_map_element(self, element: Any, rng: np.random.Generator) -> np.ndarray:
        images = np.asarray(element)
        if images.ndim < 3:
            raise data.DataError(
                f"GaussianBlur({self.key!r}) needs images `[*b h w c]`: got shape "
                f"{images.shape}."
            )
        is_left, sigma = rng.random() >= self.probability, rng.uniform(*self._bounds)
        if is_left:
            return images
        radius = int(np.ceil(3 * sigma))
        if self.kernel_size is not None:
            radius = self.kernel_size // 2
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        kernel /= kernel.sum()
        blurred = images.astype(
            np.float64 if images.dtype == np.float64 else np.float32
        )
        for axis in (-3, -2):
            blurred = _convolve(blurred, kernel.astype(blurred.dtype), axis)
        if images.dtype.kind in "iu":
            blurred = np.rint(blurred)
        return blurred.astype(images.dtype)


def _convolve(images: np.ndarray, kernel: np.ndarray, axis: int) -> np.ndarray:
    radius = len(kernel) // 2
    widths = [(0, 0)] * images.ndim
    widths[axis] = (radius, radius)
    padded = np.pad(images, widths, mode="reflect")
    size = images.shape[axis]
    blurred = np.zeros_like(images)
    for start, weight in enumerate(kernel):
        window = [slice(None)] * images.ndim
        window[axis] = slice(start, start + size)
        blurred += weight * padded[tuple(window)]
    return blurred
