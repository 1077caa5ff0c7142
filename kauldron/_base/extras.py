"""Packages that only an extra installs, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from kauldron._base import errors, public


class MissingPackageError(errors.UserError, ImportError):
    """A package that something needs is not installed."""


def load(module: str, *, needed_by: str, extra: str) -> Any:
    """Returns a module, or one inside of a package.

    Args:
      module: Its full name, such as `sqlalchemy.orm`.
      needed_by: What needs it, the subject of the message.
      extra: The extra of Kauldron that installs it.

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
            f"'kauldron[{extra}]'."
        ) from None


public.move(MissingPackageError, "kauldron.errors")
