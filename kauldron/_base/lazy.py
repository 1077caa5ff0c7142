"""Lazy attributes of packages (PEP 562): one table, one import on first use."""

from __future__ import annotations

import difflib
import importlib
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from kauldron._base import public

# File -> the room that offers names of it, and these names.
_homes: dict[str, tuple[str, list[str]]] = {}


class _Package(types.ModuleType):
    """A package whose files are loaded when first needed.

    The import system sets each file that was loaded as an attribute of its package: that
    is when the public names in it can be told where they live.
    """

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if isinstance(value, types.ModuleType) and value.__name__ in _homes:
            room, names = _homes[value.__name__]
            public.publish_names(room, value, names)


def attach(
    module_name: str, targets: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Makes the names of a module importable without importing them now.

    Classes and functions that are defined in files of the module live in it: see
    `public`.

    Args:
      module_name: `__name__` of the module that offers the names.
      targets: Public name -> `'package.module'` or `'package.module:attribute'`.

    Returns:
      `__getattr__`, `__dir__`, `__all__` to bind in the module.

    Example:

    ```python
    __getattr__, __dir__, __all__ = lazy.attach(__name__, {"nn": "kauldron.modules"})
    ```
    """
    for target in targets.values():
        file, _, attribute = target.partition(":")
        if attribute and file.startswith(f"{module_name}."):
            _homes.setdefault(file, (module_name, []))[1].append(attribute)
    tell_homes(module_name)

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

    names = sorted(targets)
    return __getattr__, lambda: names, names


def tell_homes(package_name: str) -> None:
    """Makes public names in files of a package say where they live, once loaded.

    Called by `attach`, and by packages inside of a room that offer nothing themselves.
    """
    sys.modules[package_name].__class__ = _Package
