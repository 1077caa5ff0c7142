"""Checks of the sizes that a module is made with."""

from __future__ import annotations

from typing import Any


def check_positive(module: Any, *names: str) -> None:
    """Checks numbers of heads, features, classes, ...; `None` is let through.

    Args:
      module: Whose fields they are.
      *names: Of its fields.

    Raises:
      ValueError: If one is below 1.
    """
    for name in names:
        size = getattr(module, name)
        if size is not None and size < 1:
            raise ValueError(
                f"`{type(module).__name__}.{name}` must be positive: got {size}."
            )
