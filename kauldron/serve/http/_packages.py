"""Packages of the extra `serve`, imported when they are first needed."""

from __future__ import annotations

import importlib
import types

from kauldron._base import errors


class MissingServerError(errors.UserError, ImportError):
    """A package of the extra `serve` is not installed."""


def load(name: str) -> types.ModuleType:
    """Returns a module of a package that only the extra `serve` brings.

    Raises:
      MissingServerError: If it is not installed; says how to get it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0].replace("_", "-")
        raise MissingServerError(
            f"A server needs the package `{package}`: pip install 'kauldron[serve]'."
        ) from None


def check_packages() -> None:
    """Raises `MissingServerError` unless all packages of a server are installed."""
    for name in ("fastapi", "uvicorn", "prometheus_client"):
        load(name)
