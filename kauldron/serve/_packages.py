"""Packages of the extra `serve`, imported when they are first needed."""

from __future__ import annotations

from typing import Any

from kauldron._base import extras


def load(name: str, needed_by: str = "A server") -> Any:
    """Returns a module of a package that only the extra `serve` brings.

    Raises:
      MissingPackageError: If it is not installed; says how to get it.
    """
    return extras.load(name, needed_by=needed_by, extra="serve")


def check_packages() -> None:
    """Raises `MissingPackageError` unless all packages of a server are installed."""
    for name in ("fastapi", "uvicorn", "prometheus_client"):
        load(name)
