"""Batch transforms: mixup and cutmix.

Examples are mixed in pairs of neighbours: (0, 1), (2, 3), ... As the order is shuffled,
neighbours are as random as any pairs, and the result does not depend on how the batch is
shared by processes.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import numpy as np

from kauldron.data import _errors
from kauldron.data._draws import Draws
from kauldron.data.transforms import _numbers, base


@dataclasses.dataclass(frozen=True, kw_only=True)
class _MixPairs(base.BatchTransform, abc.ABC):
    image_key: str = "image"
    label_key: str = "label"

    def map_batch(self, batch: Any, draws: Draws) -> Any:
        for key in (self.image_key, self.label_key):
            if key not in batch:
                raise _errors.missing_key(type(self).__name__, key, batch)
        labels = batch[self.label_key]
        if not _numbers.is_float(labels.dtype):
            raise _errors.DataError(
                f"{type(self).__name__} mixes labels, so {self.label_key!r} must hold "
                f"probabilities: got {labels.dtype}{list(labels.shape)}. Put "
                f"`kd.data.OneHot(key={self.label_key!r}, num_classes=...)` before it."
            )
        images, share = self._mix_images(batch[self.image_key], draws)
        share = share.astype(labels.dtype).reshape(-1, *[1] * (labels.ndim - 1))
        partners = partner_rows(len(labels))
        mixed = share * labels + (1 - share) * labels[partners]
        return {**batch, self.image_key: images, self.label_key: mixed}

    @abc.abstractmethod
    def _mix_images(
        self, images: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the mixed images and the share of each that is its own, `[n]`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixUp(_MixPairs):
    """Replaces each example by a weighted mean with its neighbour.

    Attributes:
      image_key: Key of float arrays `[b ...]`.
      label_key: Key of class probabilities, float `[b ...]`, see `OneHot`.
      alpha: The own share is drawn from Beta(alpha, alpha), > 0.

    Raises:
      DataError: If images or labels are integers.

    Reference: Zhang et al. 2018, mixup, arXiv:1710.09412.
    """

    alpha: float = 0.2

    def _mix_images(
        self, images: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        if not _numbers.is_float(images.dtype):
            raise _errors.DataError(
                f"MixUp takes means of {self.image_key!r}, which must be float: got "
                f"{images.dtype}. Put `kd.data.ValueRange` before it."
            )
        share = draws.beta(self.alpha, self.alpha)
        weight = share.astype(images.dtype).reshape(-1, *[1] * (images.ndim - 1))
        partners = partner_rows(len(images))
        return weight * images + (1 - weight) * images[partners], share


@dataclasses.dataclass(frozen=True, kw_only=True)
class CutMix(_MixPairs):
    """Pastes a rectangle of the neighbour into each image `[b h w c]`.

    Attributes:
      image_key: Key of images, any dtype.
      label_key: Key of class probabilities, float `[b ...]`, see `OneHot`.
      alpha: The own share of the area is drawn from Beta(alpha, alpha), > 0.

    Reference: Yun et al. 2019, CutMix, arXiv:1905.04899.
    """

    alpha: float = 1.0

    def _mix_images(
        self, images: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        if images.ndim != 4:
            raise _errors.DataError(
                f"CutMix needs images [b h w c]: got shape {images.shape}."
            )
        num_rows, height, width, _ = images.shape
        side = np.sqrt(1 - draws.beta(self.alpha, self.alpha))
        spans = [
            _span(length, side, draws.uniform(0, length)) for length in (height, width)
        ]
        mixed = images.copy()
        partners = partner_rows(num_rows)
        own_share = np.empty(num_rows)
        for i, ((top, bottom), (left, right)) in enumerate(zip(*spans, strict=True)):
            mixed[i, top:bottom, left:right] = images[
                partners[i], top:bottom, left:right
            ]
            own_share[i] = 1 - (bottom - top) * (right - left) / (height * width)
        return mixed, own_share


def partner_rows(num_rows: int) -> np.ndarray:
    """Returns the row each row is mixed with: its neighbour, `i64[n]`.

    The last of an odd number takes the one before it.
    """
    rows = np.arange(num_rows)
    partners = rows ^ 1
    if num_rows % 2:
        partners[-1] = max(num_rows - 2, 0)
    return partners


def _span(length: int, share: np.ndarray, center: np.ndarray) -> np.ndarray:
    half = share * length / 2
    low = np.rint(center - half).clip(0, length).astype(np.int64)
    high = np.rint(center + half).clip(0, length).astype(np.int64)
    return np.stack([low, high], axis=1)
