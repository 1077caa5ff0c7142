"""Lazy attributes of packages (PEP 562): one table, one import on first use."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def attach(
    module_name: str, targets: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Makes the names of a module importable without importing them now.

    Args:
      module_name: `__name__` of the module that offers the names.
      targets: Public name -> `'package.module'` or `'package.module:attribute'`.

    Returns:
      `__getattr__`, `__dir__`, `__all__` to bind in the module.

    Example:

    ```python
    __getattr__, __dir__, __all__ = _lazy.attach(__name__, {"nn": "kauldron.modules"})
    ```
    """

    def __getattr__(name: str) -> Any:
        try:
            target = targets[name]
        except KeyError:
            near = difflib.get_close_matches(name, targets, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise AttributeError(
                f"module {module_name!r} has no attribute {name!r}.{hint}",
                name=name,
                obj=sys.modules[module_name],
            ) from None
        target_module, _, attribute = target.partition(":")
        value = importlib.import_module(target_module)
        if attribute:
            value = getattr(value, attribute)
        setattr(sys.modules[module_name], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[module_name]), *targets})

    return __getattr__, __dir__, list(targets)
