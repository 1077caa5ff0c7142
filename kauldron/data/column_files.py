"""Columns written to open files: `.npz`, and Parquet."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from kauldron._base import extras
from kauldron.data import _errors


def write_npz(file: IO[bytes], columns: Mapping[str, np.ndarray]) -> None:
    """Writes columns as an uncompressed `.npz` file, which readers can map.

    Args:
      file: Open for bytes.
      columns: Name -> values, without Python objects.
    """
    # Not `np.savez`: it takes no array called `file`.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, values in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(
                    member, np.ascontiguousarray(values), allow_pickle=False
                )


def write_parquet(file: IO[bytes], columns: Mapping[str, np.ndarray]) -> None:
    """Writes columns as Parquet; rows with axes become lists of fixed size, nested.

    Args:
      file: Open for bytes.
      columns: Name -> values.

    Raises:
      DataError: If a column has rows without values, or complex numbers.
    """
    pyarrow = extras.load("pyarrow", needed_by="Parquet", extra="lm")
    parquet = extras.load("pyarrow.parquet", needed_by="Parquet", extra="lm")
    arrays: dict[str, Any] = {}
    for name, values in columns.items():
        if 0 in values.shape[1:] or values.dtype.kind == "c":
            raise _errors.DataError(
                f"Parquet cannot hold {name!r}, of shape {values.shape} and dtype "
                f"{values.dtype}: use the format 'npz'."
            )
        array = pyarrow.array(values.reshape(-1))
        for size in reversed(values.shape[1:]):
            array = pyarrow.FixedSizeListArray.from_arrays(array, size)
        arrays[name] = array
    parquet.write_table(pyarrow.table(arrays), file)
