"""Datasets of TensorFlow Datasets, read without TensorFlow."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

from kauldron._base import console
from kauldron.data import _errors
from kauldron.data.py import base

_MAKES_UP = contextvars.ContextVar("makes_up_missing_tfds", default=False)


@contextlib.contextmanager
def made_up_tfds() -> Iterator[None]:
    """Makes examples up inside, for `Tfds` datasets that are not on the disk.

    They have the keys, shapes and dtypes that TFDS knows without the data; their values
    mean nothing. For looking at shapes: nothing is downloaded, and no network is used.
    """
    token = _MAKES_UP.set(True)
    try:
        yield
    finally:
        _MAKES_UP.reset(token)


@dataclasses.dataclass(frozen=True)
class Tfds(base.DataSourceBase):
    """Reads a prepared TFDS dataset by index.

    Attributes:
      name: Of the dataset, `'mnist'` or `'mnist:3.0.1'`, or the folder of a prepared one.
      split: `'train'`, `'train[:80%]'`, or any other split that TFDS knows.
      data_dir: Where prepared datasets lie; TFDS's default unless given.
      decoders: Changes how features are decoded, e.g.
        `{'image': tfds.decode.SkipDecoding()}` for the bytes of the file.

    Raises:
      DataError: If the dataset is not prepared, and cannot be without TensorFlow.

    Example:

    ```python
    ds = kd.data.py.Tfds("mnist", split="train", shuffle=True, batch_size=64)
    ```
    """

    name: str
    split: Any = dataclasses.field(kw_only=True)
    data_dir: Any = dataclasses.field(default=None, kw_only=True)
    decoders: Any = dataclasses.field(default=None, kw_only=True)

    @functools.cached_property
    def data_source(self) -> Any:
        import tensorflow_datasets as tfds

        kwargs = {"split": self.split, "decoders": self.decoders}
        try:
            if "/" in str(self.name) and _is_prepared(self.name):
                builder = tfds.builder_from_directory(self.name)
                return builder.as_data_source(**kwargs)
            if _MAKES_UP.get() and not self._is_on_disk():
                return self._made_up()
            return tfds.data_source(self.name, data_dir=self.data_dir, **kwargs)
        except ModuleNotFoundError as error:
            if "tensorflow" not in str(error):
                raise
            raise _errors.DataError(
                f"The dataset {self.name!r} is not prepared in {self._where}, and "
                "preparing it needs TensorFlow. Prepare it once where TensorFlow is "
                f"installed (`tfds build {self.name} --file_format=array_record`) and "
                "set `data_dir` to that folder."
            ) from error
        except NotImplementedError as error:
            raise _errors.DataError(
                f"The dataset {self.name!r} in {self._where} has no random access: "
                "prepare it again with `--file_format=array_record`."
            ) from error
        except tfds.core.DatasetNotFoundError as error:
            raise _errors.DataError(
                f"There is no TFDS dataset {self.name!r}: {error}"
            ) from error

    def _is_on_disk(self) -> bool:
        import tensorflow_datasets as tfds

        return tfds.builder(self.name, data_dir=self.data_dir).is_prepared()

    def _made_up(self) -> _Repeated:
        import tensorflow_datasets as tfds

        with tfds.testing.mock_data(num_examples=1):
            (element,) = tfds.data_source(
                self.name, split=self.split, decoders=self.decoders
            )
        console.log(
            f"The dataset {self.name!r} is not in {self._where}: what is shown is made "
            "up from the features that TFDS knows. Its data would be downloaded by "
            "training, or by `tfds build --file_format=array_record "
            f"{self.name}`."
        )
        return _Repeated(element)

    @property
    def _where(self) -> str:
        return str(self.data_dir) if self.data_dir else "TFDS's default folder"


def _is_prepared(folder: Any) -> bool:
    from etils import epath

    return (epath.Path(folder) / "dataset_info.json").exists()


class _Repeated:
    """One element, as often as any part of a dataset asks for."""

    def __init__(self, element: Any) -> None:
        self._element = element

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, index: int) -> Any:
        return self._element
