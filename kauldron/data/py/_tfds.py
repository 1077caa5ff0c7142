"""Datasets of TensorFlow Datasets, read without TensorFlow."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from kauldron.data import _errors
from kauldron.data.py import base


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

    @property
    def _where(self) -> str:
        return str(self.data_dir) if self.data_dir else "TFDS's default folder"


def _is_prepared(folder: Any) -> bool:
    from etils import epath

    return (epath.Path(folder) / "dataset_info.json").exists()
