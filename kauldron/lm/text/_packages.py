"""Packages of the extra `lm`, imported when they are first needed."""

from __future__ import annotations

import importlib
import types

from kauldron.lm.text import _errors


def load(name: str, needed_by: str) -> types.ModuleType:
    """Returns a module of a package that only the extra `lm` brings.

    Raises:
      MissingPackageError: If it is not installed; says how to get it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise _errors.MissingPackageError(
            f"{needed_by} needs the package `{package}`: pip install 'kauldron[lm]'."
        ) from None
