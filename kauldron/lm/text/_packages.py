"""Packages of the extra `lm`, imported when they are first needed."""

from __future__ import annotations

from typing import Any

from kauldron._base import extras


def load(name: str, needed_by: str) -> Any:
    """Returns a module of a package that only the extra `lm` brings.

    Raises:
      MissingPackageError: If it is not installed; says how to get it.
    """
    return extras.load(name, needed_by=needed_by, extra="lm")
