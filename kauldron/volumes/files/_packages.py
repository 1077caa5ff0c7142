"""The packages that formats are built on; each is in an extra of its own."""

from __future__ import annotations

import importlib
from typing import Any

from kauldron._base import errors

_EXTRAS = {"nibabel": "volumes", "pydicom": "dicom", "zarr": "zarr", "h5py": "hdf5"}


class MissingPackageError(errors.UserError, ImportError):
    """A package that a format needs is not installed."""


def load(module: str, needed_by: str) -> Any:
    """Returns a module, or one inside of a package.

    Raises:
      MissingPackageError: If it is not installed; names the extra.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as e:
        if e.name != package:
            raise
        raise MissingPackageError(
            f"{needed_by} needs the package `{package}`: pip install "
            f"'kauldron[{_EXTRAS[package]}]'."
        ) from None
