"""Arrays in `.npz` files, memory-mapped where the file allows it."""

from __future__ import annotations

import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from kauldron.data import _errors

if TYPE_CHECKING:
    from etils import epath


_LOCAL_HEADER_BYTES = 30


def load(path: epath.Path) -> dict[str, np.ndarray]:
    """Returns the arrays by name; those that are not compressed are not read yet.

    Raises:
      BadRecordError: If the file is damaged, or holds Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            return {
                info.filename.removesuffix(".npy"): _load_one(archive, info, file, path)
                for info in archive.infolist()
            }
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise _errors.BadRecordError(f"{path} cannot be read: {error}.") from error


def _load_one(
    archive: Any, info: zipfile.ZipInfo, file: Any, path: epath.Path
) -> np.ndarray:
    if info.compress_type != zipfile.ZIP_STORED:
        with archive.open(info) as member:
            return np.lib.format.read_array(member, allow_pickle=False)
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER_BYTES)
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    file.seek(info.header_offset + _LOCAL_HEADER_BYTES + name_length + extra_length)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds Python objects")
    return np.memmap(
        path,
        dtype=dtype,
        mode="r",
        offset=file.tell(),
        shape=shape,
        order="F" if is_fortran else "C",
    )
