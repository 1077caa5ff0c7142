"""Pieces of the photographs that scikit-image ships, with noise on them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

_PHOTOS = {
    "train": (
        *("astronaut", "brick", "coins", "grass", "immunohistochemistry"),
        *("moon", "rocket", "stereo_motorcycle"),
    ),
    "test": ("camera", "chelsea", "coffee"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisyPhotos:
    """Random pieces of grey photographs, in any of their eight orientations.

    An element is `{"image": f32[size size 1], "noise": f32[size size 1]}`; the photograph,
    in [0, 1], is `image - noise`. Each index is a piece of its own.

    Attributes:
      split: `'train'` (eight photographs), or `'test'` (three others).
      num_pieces: How many there are.
      size: Pixels of a side.
      noise_std: Standard deviation of the noise, which is Gaussian and white.

    Raises:
      ImportError: Without scikit-image.
    """

    split: str
    num_pieces: int
    size: int = 64
    noise_std: float = 0.1

    def __post_init__(self) -> None:
        if self.split not in _PHOTOS:
            raise ValueError(f"`split` is 'train' or 'test': got {self.split!r}.")
        _ = self.photos  # a missing package is reported here, where the config asks

    @functools.cached_property
    def photos(self) -> dict[str, np.ndarray]:
        """Whole, without noise: `f32[h w]` by name."""
        try:
            from skimage import color, data, util
        except ImportError:
            raise ImportError(
                "The photographs come with scikit-image, which is not installed: "
                "`pip install scikit-image`."
            ) from None
        photos = {}
        for name in _PHOTOS[self.split]:
            photo = getattr(data, name)()
            if isinstance(photo, tuple):
                photo = photo[0]  # the left one of a pair
            grey = color.rgb2gray(photo) if photo.ndim == 3 else photo
            photos[name] = util.img_as_float32(grey)
        return photos

    def __len__(self) -> int:
        return self.num_pieces

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.split == "test", index))
        names = sorted(self.photos)
        photo = self.photos[names[rng.integers(len(names))]]
        row, column = rng.integers(np.array(photo.shape) - self.size + 1)
        piece = photo[row : row + self.size, column : column + self.size]
        piece = np.rot90(piece, int(rng.integers(4)))
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        noise = rng.normal(0, self.noise_std, piece.shape).astype(np.float32)
        return {"image": (piece + noise)[..., None], "noise": noise[..., None]}
