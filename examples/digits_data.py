"""The handwritten digits that scikit-learn ships, as a random access data source."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Digits:
    """1,797 real digits of 8 x 8 pixels, split by class into train and test.

    An element is `{"image": u8[8 8 1] in [0, 16], "label": i64[] in [0, 10)}`.

    Attributes:
      split: `'train'` (four fifths) or `'test'` (a stratified fifth).
      split_seed: Seed of the split; not that of the training.

    Raises:
      ImportError: Without scikit-learn.

    Reference: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI.
    """

    split: str
    split_seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in ("train", "test"):
            raise ValueError(f"`split` is 'train' or 'test': got {self.split!r}.")
        _ = self._arrays  # a missing package is reported here, where the config asks

    @functools.cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        try:
            from sklearn import datasets, model_selection
        except ImportError:
            raise ImportError(
                "The digits come with scikit-learn, which is not installed: "
                "`pip install -e '.[demo]'`."
            ) from None
        pixels, labels = datasets.load_digits(return_X_y=True)
        images = np.asarray(pixels, np.uint8).reshape(-1, 8, 8, 1)
        train_images, test_images, train_labels, test_labels = (
            model_selection.train_test_split(
                images,
                labels,
                test_size=0.2,
                stratify=labels,
                random_state=self.split_seed,
            )
        )
        if self.split == "train":
            return np.asarray(train_images), np.asarray(train_labels)
        return np.asarray(test_images), np.asarray(test_labels)

    def __len__(self) -> int:
        return len(self._arrays[0])

    def __getitem__(self, index: int) -> dict[str, Any]:
        images, labels = self._arrays
        return {"image": images[index], "label": labels[index]}
