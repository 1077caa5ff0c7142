"""Names of importable objects: `'package.module:Class.method'`."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Mapping
from typing import Any

from kauldron._base import errors
from kauldron.konfig import _errors, _find

# Module -> how it is shown.
_aliases: dict[str, str] = {
    "flax.linen": "nn",
    "gemma.gm": "gm",
    "kauldron.kd": "kd",
    "kauldron.konfig": "konfig",
    "kauldron.kxm": "kxm",
    "numpy": "np",
    "tensorflow_datasets": "tfds",
    "tensorflow": "tf",
}


def register_aliases(aliases: Mapping[str, str]) -> None:
    """Sets how modules are shown, and abbreviated in `py::` overrides.

    Args:
      aliases: Module name -> short name, such as `{"jax.numpy": "jnp"}`.

    Raises:
      ValueError: If a short name already stands for another module.
    """
    for module, alias in aliases.items():
        for other, taken in _aliases.items():
            if taken == alias and other != module:
                raise _errors.ConfigError(
                    f"The alias {alias!r} already stands for {other!r}, so it cannot "
                    f"stand for {module!r} too. Choose another short name."
                )
    _aliases.update(aliases)


def get_aliases() -> dict[str, str]:
    """Returns module name -> short name."""
    return dict(_aliases)


def split(qualname: str) -> tuple[str, str]:
    """Returns module name and attribute path.

    Without a colon, the last component is the attribute; a single name is a module.
    """
    if ":" in qualname:
        module, _, attribute = qualname.partition(":")
        return module, attribute
    module, _, attribute = qualname.rpartition(".")
    return (module, attribute) if module else (attribute, "")


def shorten(qualname: str) -> str:
    """Returns the name as users write it: dots only, module aliases applied."""
    module, colon, attribute = qualname.partition(":")
    if not colon:
        for prefix in _prefixes(module):
            if prefix != module and prefix in _aliases:
                return _aliases[prefix] + module[len(prefix) :]
        return module
    for prefix in _prefixes(module):
        if prefix in _aliases:
            module = _aliases[prefix] + module[len(prefix) :]
            break
    return f"{module}.{attribute}" if attribute else module


def _prefixes(module: str) -> list[str]:
    """Returns `a.b.c`, `a.b`, `a`."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def expand_alias(dotted: str) -> str:
    """Returns a dotted name as a qualname, its alias expanded.

    `nn.Dense` is `flax.linen:Dense`, `kd.data.Elements` is
    `kauldron.kd:data.Elements`, `a.b.c` is `a.b:c`.
    """
    first, _, rest = dotted.partition(".")
    for module, alias in _aliases.items():
        if first == alias and rest:
            return f"{module}:{rest}"
    module, attribute = split(dotted)
    return f"{module}:{attribute}"


def import_object(qualname: str) -> Any:
    """Returns the object of the given name.

    A name in a private file, `package.room._file:Name`, as records of old runs hold it, is
    looked up in the package too: private files come and go.

    Raises:
      ConfigImportError: If the module, or the name in it, does not exist.
      Exception: Whatever the module raises while it is imported.
    """
    try:
        return _import_as_named(qualname)
    except _errors.ConfigImportError:
        public = _without_private_file(qualname)
        if public == qualname:
            raise
        try:
            return _import_as_named(public)
        except _errors.ConfigImportError:
            pass  # the name as it was written is the one to tell
        raise


def _without_private_file(qualname: str) -> str:
    """Returns `a.b:Name` for `a.b._c:Name`."""
    module, attribute = split(qualname)
    parts = module.split(".")
    while len(parts) > 1 and parts[-1].startswith("_"):
        parts.pop()
    public = ".".join(parts)
    return qualname if public == module else f"{public}:{attribute}"


def _import_as_named(qualname: str) -> Any:
    module_name, attribute = split(qualname)
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
            if _is_module(obj) and _find.find(submodule) is None:
                obj = importlib.import_module(submodule)
                continue
            where = ":".join((module_name, ".".join(names[:i]))).rstrip(":")
            raise _missing_attribute(qualname, shorten(where), obj, name) from error
    return obj


def import_named_in(node: Any, qualname: Any) -> Any:
    """`import_object` for a name that a config node holds.

    Raises:
      UntrustedError: If the config is from elsewhere, and may not name it.
    """
    if getattr(node, "_trust", None) is None:
        return import_object(str(qualname))
    from kauldron.konfig import _trust

    return _trust.import_object(str(qualname), node._trust)


def _import_longest(
    module_name: str, names: list[str], qualname: str
) -> tuple[str, list[str]]:
    """Imports the module; what is no module of the dotted name becomes attributes."""
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
                    f"Importing `{module_name}` for `{shorten(qualname)}` failed: "
                    f"{error}." + _find.install_hint(error.name or "")
                ) from error
            # `a.b` is not a package, or `a` has no module `b`: `b` may be a name in it.
            if not parent or _find.find(parent) is not None:
                raise _errors.ConfigImportError(
                    f"`{shorten(qualname)}` cannot be imported: "
                    f"{_find.describe_missing(module_name)}"
                ) from error
            module_name, names = parent, [last, *names]


def _missing_attribute(
    qualname: str, where: str, obj: Any, name: str
) -> _errors.MissingNameError:
    public = [n for n in dir(obj) if not n.startswith("_")]
    return _errors.MissingNameError(
        f"`{shorten(qualname)}` does not exist: {where!r} has no {name!r}."
        + errors.did_you_mean(name, public)
    )


def _is_module(obj: Any) -> bool:
    return isinstance(obj, types.ModuleType)
