"""The packages that formats are built on; each is in an extra of its own."""

from __future__ import annotations

from typing import Any

from kauldron._base import extras

_EXTRAS = {"nibabel": "volumes", "pydicom": "dicom", "zarr": "zarr", "h5py": "hdf5"}


def load(module: str, needed_by: str) -> Any:
    """Returns a module, or one inside of a package.

    Raises:
      MissingPackageError: If it is not installed; names the extra.
    """
    extra = _EXTRAS[module.partition(".")[0]]
    return extras.load(module, needed_by=needed_by, extra=extra)
