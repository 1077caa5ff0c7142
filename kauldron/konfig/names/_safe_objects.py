"""Safe objects: public names of what a package declares safe."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any

from kauldron.konfig import _origin
from kauldron.konfig.names import (
    _named_objects,
    _package_declaration,
    _qualname,
)


def is_safe(
    obj: Any, qualname: str, declaration: _package_declaration.PackageDeclaration
) -> bool:
    """Returns whether a declaration covers an object.

    Args:
      obj: What was found.
      qualname: The name that it was found by.
      declaration: Of the package that the name, or the object, is in.
    """
    if _is_among(obj, qualname, declaration.not_trusted):
        return False
    if _is_among(obj, qualname, declaration.trusted):
        return True
    if inspect.ismethod(obj):  # a class method: `Sequential.from_repeated`
        owner = obj.__self__
        rooms = declaration.trusted
        is_public = not obj.__name__.startswith("_")
        return is_public and isinstance(owner, type) and _is_public(owner, "", rooms)
    rooms = declaration.trusted
    if isinstance(obj, type):
        rooms = (*rooms, *declaration.trusted_classes)
    elif not (inspect.isroutine(obj) or hasattr(obj, "__wrapped__")):
        return False
    return _is_public(obj, qualname, rooms)


def _is_among(obj: Any, qualname: str, names: tuple[str, ...]) -> bool:
    """Returns whether an object is one of those listed as `module:name`."""
    own_name = getattr(obj, "__name__", None)
    last_names = {own_name, _last_name(qualname)}
    for name in names:
        if ":" in name and _last_name(name) in last_names:
            listed = _named_objects.import_object(name)
            if listed is obj or (inspect.ismethod(obj) and listed == obj):
                return True
    return False


def _last_name(qualname: str) -> str:
    return qualname.rpartition(":")[2].rpartition(".")[2]


def _is_public(obj: Any, qualname: str, rooms: tuple[str, ...]) -> bool:
    """Returns whether a module within `rooms` has an object in its `__all__`."""
    names = {getattr(obj, "__qualname__", ""), _last_name(qualname)}
    for module in _modules_of(obj, qualname):
        if not _origin.is_within(module.__name__, rooms):
            continue
        for name in names & set(_public_names(module)):
            if getattr(module, name, None) is obj:
                return True
    return False


def _public_names(module: types.ModuleType) -> list[str]:
    """Returns `__all__`; without one, the classes that the module defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]


def _modules_of(obj: Any, qualname: str) -> Iterator[types.ModuleType]:
    """Yields the modules that may offer an object: on the way to it, and above its home."""
    module, attribute = _qualname.split(qualname)
    found: Any = sys.modules.get(module)
    for name in attribute.split("."):
        if not isinstance(found, types.ModuleType):
            break
        yield found
        found = getattr(found, name, None)
    parts = (getattr(obj, "__module__", None) or "").split(".")
    for n in range(len(parts), 0, -1):
        home = sys.modules.get(".".join(parts[:n]))
        if home is not None:
            yield home
