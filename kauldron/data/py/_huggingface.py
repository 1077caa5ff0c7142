"""Datasets from the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Mapping
from typing import Any

from kauldron._base import errors
from kauldron.data import _errors, _image_files
from kauldron.data.py import base


@dataclasses.dataclass(frozen=True)
class HuggingFace(base.DataSourceBase):
    """Reads a dataset with the `datasets` package, an extra.

    Pictures become arrays `[h w c]`, by the rule of `kd.data.read_image(as_stored=True)`:
    bytes, unless they have more than 8 bits. Other values stay as they are.

    Attributes:
      path: Name on the hub, or a local folder.
      config: Name of the configuration, if it has several.
      split: `'train'`, `'train[:80%]'`, ...
      data_dir: Folder of the data inside the dataset.
      cache_dir: Where downloads are kept; the package's default unless given.

    Raises:
      ImportError: Without the package.
    """

    path: str
    config: str | None = None
    split: Any = dataclasses.field(kw_only=True)
    data_dir: str | None = dataclasses.field(default=None, kw_only=True)
    cache_dir: str | None = dataclasses.field(default=None, kw_only=True)

    @functools.cached_property
    def data_source(self) -> Any:
        try:
            datasets = importlib.import_module("datasets")
        except ImportError:
            raise MissingExtraError(
                "`kd.data.py.HuggingFace` needs the package `datasets`: "
                "`pip install 'kauldron[huggingface]'`."
            ) from None
        dataset = datasets.load_dataset(
            self.path,
            name=self.config,
            split=self.split,
            data_dir=self.data_dir,
            cache_dir=self.cache_dir,
        )
        if isinstance(dataset, Mapping):
            raise _errors.DataError(
                f"HuggingFace({self.path!r}): `split` must name one split: there are "
                f"{sorted(dataset)}."
            )
        return _Records(dataset)


class MissingExtraError(errors.UserError, ImportError):
    """A package of an extra is not installed."""


@dataclasses.dataclass
class _Records:
    dataset: Any

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return {key: _to_numpy(value) for key, value in self.dataset[index].items()}

    def __repr__(self) -> str:
        return f"HuggingFace dataset {getattr(self.dataset, 'builder_name', '')!r}"


def _to_numpy(value: Any) -> Any:
    if not hasattr(value, "getbands"):  # no PIL picture
        return value
    return _image_files.pixels_of(value, as_stored=True)
