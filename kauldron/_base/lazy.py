"""Lazy imports of package attributes (PEP 562): one table, imported on first use."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from kauldron._base import public

# File -> the room that offers names of it, and these names.
_homes: dict[str, tuple[str, list[str]]] = {}


class _Package(types.ModuleType):
    """A package whose files are loaded when first needed.

    The import system sets each loaded file as an attribute of its package: at that
    point the `__module__` of its public names can be set.
    """

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if isinstance(value, types.ModuleType):
            _tell_home(value, inside=self.__name__)


def attach(
    module_name: str, targets: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Makes the names of a module importable without importing them now.

    Classes and functions that are defined in files of the module live in it: see
    `public`. The files of a package are its attributes too, as ever, but not listed.

    Args:
      module_name: `__name__` of the module that offers the names.
      targets: Public name -> `'package.module'` or `'package.module:attribute'`.

    Returns:
      `__getattr__`, `__dir__`, `__all__` to bind in the module. `__getattr__.targets` is
      the table.

    Example:

    ```python
    __getattr__, __dir__, __all__ = lazy.attach(__name__, {"nn": "kauldron.modules"})
    ```
    """
    for target in targets.values():
        file, _, attribute = target.partition(":")
        if attribute and file.startswith(f"{module_name}."):
            _homes.setdefault(file, (module_name, []))[1].append(attribute)
    _watch(sys.modules[module_name])

    def __getattr__(name: str) -> Any:
        try:
            target = targets[name]
        except KeyError:
            if _is_file(module_name, name):
                return importlib.import_module(f"{module_name}.{name}")
            # Nobody mistypes `__test__`, for which tools ask everything there is.
            is_asked_by_tools = name.startswith("__")
            near = () if is_asked_by_tools else difflib.get_close_matches(name, targets)
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

    vars(__getattr__)["targets"] = dict(targets)
    names = sorted(targets)
    return __getattr__, lambda: names, names


def _is_file(package: str, name: str) -> bool:
    """Whether a name is that of a file: as if all had been imported."""
    if name.startswith("__") or not hasattr(sys.modules[package], "__path__"):
        return False
    return importlib.util.find_spec(f"{package}.{name}") is not None


def _tell_home(module: types.ModuleType, inside: str) -> None:
    """Makes public names in a file, or in those of a folder, say where they live."""
    if not module.__name__.startswith(f"{inside}."):  # imported by its `__init__`
        return
    if module.__name__ in _homes:
        room, names = _homes[module.__name__]
        public.publish_names(room, module, names)
    if hasattr(module, "__path__") and not isinstance(module, _Package):
        _watch(module)


def _watch(package: types.ModuleType) -> None:
    package.__class__ = _Package
    for value in list(vars(package).values()):
        if isinstance(value, types.ModuleType):
            _tell_home(value, inside=package.__name__)
