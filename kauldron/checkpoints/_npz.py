"""Import and export of arrays as `.npz`: a zip file with one NumPy array per name."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping

import numpy as np
from etils import epath

from kauldron._base import shared_files
from kauldron.checkpoints import _dtypes, _errors

SUFFIX = ".npz"
_ENTRY_SUFFIX = ".npy"


def save(arrays: Mapping[str, np.ndarray], path: epath.Path) -> epath.Path:
    """Writes arrays to a file; returns it.

    NumPy's own `savez` takes names as arguments of a call, so that some cannot be used.

    Raises:
      CheckpointError: If an array or a name cannot be in such a file; nothing is
        written then.
    """
    native = {name: _dtypes.for_npz(name, array) for name, array in arrays.items()}
    for name in arrays:
        if "\0" in name:
            raise _errors.CheckpointError(
                f"A name in a .npz file ends at a NUL character: {name!r} has one. Rename "
                "the array, or write *.safetensors."
            )
        if name.endswith(_ENTRY_SUFFIX) and name.removesuffix(_ENTRY_SUFFIX) in arrays:
            raise _errors.CheckpointError(
                f"NumPy takes {name!r} for {name.removesuffix(_ENTRY_SUFFIX)!r} when it "
                "reads a .npz file. Rename one of the arrays, or write *.safetensors."
            )
    with (
        shared_files.replacing(path) as part,
        part.open("wb") as f,
        zipfile.ZipFile(f, "w") as archive,
    ):
        for name, array in native.items():
            entry = zipfile.ZipInfo(f"{name}{_ENTRY_SUFFIX}")
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return path
