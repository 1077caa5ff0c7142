"""Importing objects by name."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

from kauldron._base import errors
from kauldron.konfig import _errors
from kauldron.konfig.names import _declarations, _finder, _missing_modules, _qualname


def expand_alias(dotted: str) -> str:
    """Returns a dotted name as a qualname, its alias expanded.

    `nn.Dense` is `flax.linen:Dense`, `kd.data.Elements` is
    `kauldron.kd:data.Elements`, `a.b.c` is `a.b:c`.
    """
    first, _, rest = dotted.partition(".")
    if rest and first not in _qualname.aliases.values() and _finder.find(first):
        _declarations.own()  # no module: an alias of ours, perhaps
    for module, alias in _qualname.aliases.items():
        if first == alias and rest:
            return f"{module}:{rest}"
    module, attribute = _qualname.split(dotted)
    return f"{module}:{attribute}"


def import_object(qualname: str) -> Any:
    """Returns the object of the given name.

    A name in a private file, `package.room._file:Name`, as records of old runs hold it, is
    looked up in the package too: private files come and go. So is a name in a module that
    has moved, as its package declares.

    Raises:
      ConfigImportError: If the module, or the name in it, does not exist.
      Exception: Whatever the module raises while it is imported.
    """
    try:
        return _import_as_named(qualname)
    except _errors.ConfigImportError:
        for other in _other_homes(qualname):
            try:
                return _import_as_named(other)
            except _errors.ConfigImportError:
                pass  # the name as it was written is the one to tell
        raise


def _other_homes(qualname: str) -> list[str]:
    """Returns the names that a name that is not found may stand for."""
    homes = [_without_private_file(qualname)]
    declaration = _declarations.meet(qualname)
    module, attribute = _qualname.split(qualname)
    if declaration is not None and module in declaration.moved:
        homes.insert(0, f"{declaration.moved[module]}:{attribute}")
    return [home for home in homes if home != qualname]


def _without_private_file(qualname: str) -> str:
    """Returns `a.b:Name` for `a.b._c:Name`."""
    module, attribute = _qualname.split(qualname)
    parts = module.split(".")
    while len(parts) > 1 and parts[-1].startswith("_"):
        parts.pop()
    public = ".".join(parts)
    return qualname if public == module else f"{public}:{attribute}"


def _import_as_named(qualname: str) -> Any:
    module_name, colon, attribute = qualname.partition(":")
    if not colon:
        module_name, attribute = _qualname.split(qualname)
    names = attribute.split(".") if attribute else []
    if not module_name:
        raise _errors.ConfigImportError(
            f"{qualname!r} does not name a module. Write `module:attribute`."
        )
    module_name, names = _import_longest(module_name, names, qualname)
    obj: Any = sys.modules[module_name]
    for i, name in enumerate(names):
        try:
            obj = getattr(obj, name)
        except AttributeError as error:
            submodule = ".".join((module_name, *names[: i + 1]))
            if _is_module(obj) and _finder.find(submodule) is None:
                obj = importlib.import_module(submodule)
                continue
            where = ":".join((module_name, ".".join(names[:i]))).rstrip(":")
            raise _missing_attribute(
                qualname, _qualname.shorten(where), obj, name
            ) from error
    return obj


def _import_longest(
    module_name: str, names: list[str], qualname: str
) -> tuple[str, list[str]]:
    """Imports the module; parts of the name that are not modules become attributes."""
    while True:
        try:
            importlib.import_module(module_name)
            return module_name, names
        except ModuleNotFoundError as error:
            parent, _, last = module_name.rpartition(".")
            is_itself = error.name is not None and (
                module_name == error.name or module_name.startswith(f"{error.name}.")
            )
            if not is_itself:  # a module that exists imports one that doesn't
                raise _errors.ConfigImportError(
                    f"Importing `{module_name}` for `{_qualname.shorten(qualname)}` failed: "
                    f"{error}." + _missing_modules.install_hint(error.name or "")
                ) from error
            # `a.b` is not a package, or `a` has no module `b`: `b` may be a name in it.
            if not parent or _finder.find(parent) is not None:
                raise _errors.ConfigImportError(
                    f"`{_qualname.shorten(qualname)}` cannot be imported: "
                    f"{_missing_modules.describe_missing(module_name)}"
                ) from error
            module_name, names = parent, [last, *names]


def _missing_attribute(
    qualname: str, where: str, obj: Any, name: str
) -> _errors.MissingNameError:
    public = [n for n in dir(obj) if not n.startswith("_")]
    return _errors.MissingNameError(
        f"`{_qualname.shorten(qualname)}` does not exist: {where!r} has no {name!r}."
        + errors.did_you_mean(name, public)
    )


def _is_module(obj: Any) -> bool:
    return isinstance(obj, types.ModuleType)
