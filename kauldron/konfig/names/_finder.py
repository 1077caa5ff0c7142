"""Finding a module without executing it or its parent packages."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from importlib import machinery
from typing import Any


def find(name: str) -> str | None:
    """Returns `None` if the module exists, else the first part that does not.

    Asks the finders of the import system, so that neither the module nor its parents
    are executed.

    Args:
      name: Dotted module name.
    """
    path: Sequence[str] | None = None
    parts = name.split(".")
    for i in range(len(parts)):
        fullname = ".".join(parts[: i + 1])
        found, path = _find_one(fullname, path)
        if not found:
            return fullname
        if path is None and i + 1 < len(parts):
            nested = ".".join(parts[: i + 2])  # such as `os.path`
            if nested not in sys.modules:
                return nested
    return None


def _find_one(
    fullname: str, path: Sequence[str] | None
) -> tuple[bool, Sequence[str] | None]:
    """Returns whether the module exists, and where its submodules are."""
    module = sys.modules.get(fullname)
    if module is not None:
        locations = getattr(module, "__path__", None)
        return True, None if locations is None else list(locations)
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        if find_spec is None:
            continue
        try:
            spec = find_spec(fullname, path)
        except KeyError:  # a namespace package within one that is not imported yet
            spec = _find_namespace(fullname, path or ())
        if spec is not None:
            return True, _locations(spec)
    return False, None


def _locations(spec: machinery.ModuleSpec) -> Sequence[str] | None:
    locations: Any = spec.submodule_search_locations
    return None if locations is None else list(locations)


def _find_namespace(fullname: str, path: Sequence[str]) -> machinery.ModuleSpec | None:
    import pkgutil

    portions: list[str] = []
    for entry in path:
        finder: Any = pkgutil.get_importer(entry)
        spec = finder.find_spec(fullname) if finder is not None else None
        if spec is None:
            continue
        if spec.loader is not None:
            return spec
        portions.extend(spec.submodule_search_locations or ())
    if not portions:
        return None
    namespace = machinery.ModuleSpec(fullname, None)
    namespace.submodule_search_locations = portions
    return namespace


def top_level_names() -> list[str]:
    """Returns the names of the modules that `import` could find now."""
    folders = [entry or os.getcwd() for entry in sys.path]
    return list(_names_in(tuple((entry, _changed_at(entry)) for entry in folders)))


def _changed_at(path: str) -> int:
    """Returns when something was added to a folder, or taken from it."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:  # `sys.path` may name what is not there
        return 0


# A config may name the same absent module at many places.
@functools.lru_cache(maxsize=1)
def _names_in(folders: tuple[tuple[str, int], ...]) -> list[str]:
    import pkgutil

    names = {module.name for module in pkgutil.iter_modules([f for f, _ in folders])}
    return sorted(names | set(sys.builtin_module_names) | sys.stdlib_module_names)


def submodule_names(package: str) -> list[str]:
    """Returns the names of the modules in a package; empty if it is none."""
    import pkgutil

    path: Sequence[str] | None = None
    parts = package.split(".")
    for i in range(len(parts)):
        found, path = _find_one(".".join(parts[: i + 1]), path)
        if not found or path is None:
            return []
    return sorted(module.name for module in pkgutil.iter_modules(list(path or ())))
