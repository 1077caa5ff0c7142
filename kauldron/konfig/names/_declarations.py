"""What a package tells konfig about its names: aliases, extras, defaults, what is safe.

konfig knows no package by name. A package that wants to be known has a module
`_konfig_package` with a `DECLARATION`; it is imported when a config first names something
of the package.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import importlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kauldron._base import errors
from kauldron.konfig import _errors, _origin
from kauldron.konfig.names import _finder, _qualname

MODULE = "_konfig_package"
VARIABLE = "DECLARATION"
OWN_PACKAGE = __name__.partition(".")[0]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PackageDeclaration:
    """What a package tells konfig about its names.

    It stands as `DECLARATION` in the module `_konfig_package` of the package, and is
    imported, with the package's `__init__`, when a config first names something of the
    package: both should import little. All names are within the package, those of
    `aliases` and `extras` aside.

    What is `trusted` may be named by configs from elsewhere (see `konfig.load`): a
    constructor that does work, such as opening a file, should not be.

    Attributes:
      default_values: A function that yields calls whose arguments every new call of the
        same name starts with, as `konfig.register_default_values` takes them. What is
        yielded counts for what is made next.
      aliases: Module -> how it is shown, and abbreviated in `py::` overrides.
      extras: Top-level module -> extra of the distribution that installs it.
      distribution: What `pip install` calls the package; by default its name.
      moved: Module that is gone -> the one that has what was in it, for configs that were
        saved before.
      trusted: Modules whose public classes and functions, and those of the modules in
        them, are safe: what `__all__` lists; where there is none, the public classes that
        the module defines. Or single objects, `"module:name"`.
      trusted_classes: The same, for classes alone.
      not_trusted: Exceptions from both, `"module:name"`.
      namespaces: Modules that offer what is trusted under names of their own.

    Raises:
      ConfigError: A `ValueError`: a field of another form.

    Example:

    ```python
    from kauldron import konfig

    DECLARATION = konfig.PackageDeclaration(
        aliases={"my_lab.models": "models"},
        extras={"cv2": "video"},
        trusted_classes=("my_lab.models",),
    )
    ```
    """

    default_values: Callable[[], Iterable[Any]] | None = None
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    extras: Mapping[str, str] = dataclasses.field(default_factory=dict)
    distribution: str = ""
    moved: Mapping[str, str] = dataclasses.field(default_factory=dict)
    trusted: tuple[str, ...] = ()
    trusted_classes: tuple[str, ...] = ()
    not_trusted: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.default_values is not None and not callable(self.default_values):
            raise _wrong("default_values", "a function without arguments", self)
        if not isinstance(self.distribution, str):
            raise _wrong("distribution", "a text", self)
        for field in ("aliases", "extras", "moved"):
            table = getattr(self, field)
            is_table = isinstance(table, Mapping)
            if not is_table or not all(map(_is_dotted, (*table, *table.values()))):
                raise _wrong(
                    field, "a dict of names, such as {'jax.numpy': 'jnp'}", self
                )
        for field in ("trusted", "trusted_classes", "not_trusted", "namespaces"):
            names = getattr(self, field)
            if not isinstance(names, tuple) or not all(map(_is_qualname, names)):
                raise _wrong(
                    field, "a tuple of names, such as ('my_lab.models',)", self
                )
        for field, has_colon in (("not_trusted", True), ("namespaces", False)):
            for name in getattr(self, field):
                if (":" in name) != has_colon:
                    what = "objects, 'module:name'" if has_colon else "modules"
                    raise _wrong(field, f"a tuple of {what}", self)

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules in which a name that is trusted may be looked up."""
        named = (*self.trusted, *self.trusted_classes, *self.namespaces)
        return tuple(dict.fromkeys(name.partition(":")[0] for name in named))


def _is_dotted(name: Any) -> bool:
    is_text = isinstance(name, str) and bool(name)
    return is_text and all(n.replace("-", "_").isidentifier() for n in name.split("."))


def _is_qualname(name: Any) -> bool:
    if not isinstance(name, str):
        return False
    module, colon, attribute = name.partition(":")
    return _is_dotted(module) and (not colon or _is_dotted(attribute))


def _wrong(
    field: str, expected: str, declaration: PackageDeclaration
) -> _errors.ConfigError:
    got = _errors.short(getattr(declaration, field))
    return _errors.ConfigError(
        f"`PackageDeclaration({field}=...)` takes {expected}, got {got}."
    )


# Package -> what it declares; `None` if nothing.
_declared: dict[str, PackageDeclaration | None] = {}
# Package that was not found -> `sys.path` then.
_absent: dict[str, tuple[str, ...]] = {}
_lock = threading.RLock()

# In the handling of a config from elsewhere, the packages that the user trusts.
_only: contextvars.ContextVar[tuple[str, ...] | None] = contextvars.ContextVar(
    "konfig_only_trusted_declarations", default=None
)


@contextlib.contextmanager
def only_trusted(trusted: Iterable[str]) -> Iterator[None]:
    """Within the block, no declaration is loaded that would run code of a stranger.

    That is, only those of this package, of packages in `trusted`, and of packages that
    are imported already.
    """
    token = _only.set(tuple(trusted))
    try:
        yield
    finally:
        _only.reset(token)


def meet(qualname: Any) -> PackageDeclaration | None:
    """Returns the declaration of the package that a name is in, loaded at first sight.

    Raises:
      ConfigError: If the package has a declaration that is malformed, or raises.
    """
    if not isinstance(qualname, str):
        return None
    package = qualname.partition(":")[0].partition(".")[0]
    if package in _declared:
        return _declared[package]
    if not package.isidentifier() or not _may_load(package):
        return None
    if package in _absent and _absent[package] == tuple(sys.path):
        return None
    with _lock:
        if package not in _declared:
            _look_for(package)
        return _declared.get(package)


def own() -> PackageDeclaration | None:
    """Returns the declaration of the package that konfig is a part of."""
    return meet(OWN_PACKAGE)


def _may_load(package: str) -> bool:
    trusted = _only.get()
    if trusted is None or package == OWN_PACKAGE or package in sys.modules:
        return True
    return "*" in trusted or package in trusted


def _look_for(package: str) -> None:
    missing = _finder.find(f"{package}.{MODULE}")
    if missing == package:
        _absent[package] = tuple(sys.path)
    elif missing is not None:
        _declared[package] = None
    else:
        _declared[package] = _load(package)


def _load(package: str) -> PackageDeclaration:
    name = f"{package}.{MODULE}"
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise malformed(package, f"{type(error).__name__}: {error}") from error
    declaration = getattr(module, VARIABLE, None)
    if not isinstance(declaration, PackageDeclaration):
        public = [n for n in vars(module) if not n.startswith("_")]
        near = errors.did_you_mean(VARIABLE, public) if declaration is None else ""
        got = "nothing" if declaration is None else _errors.short(declaration)
        raise malformed(
            package,
            f"it must have `{VARIABLE} = konfig.PackageDeclaration(...)`, got {got}."
            f"{near}",
        )
    named = (*declaration.modules, *declaration.not_trusted)
    for other in named:
        if not _origin.is_within(other.partition(":")[0], (package,)):
            raise malformed(
                package,
                f"it can only say of its own names what is trusted, got {other!r}.",
            )
    try:
        add_aliases(declaration.aliases)
    except _errors.ConfigError as error:
        raise malformed(package, str(error)) from error
    return declaration


def malformed(package: str, reason: str) -> _errors.ConfigError:
    """Returns the error for a declaration that cannot be used."""
    name = f"{package}.{MODULE}"
    file = getattr(sys.modules.get(name), "__file__", None)
    where = f" ({file})" if file else ""
    return _errors.ConfigError(
        f"What `{package}` declares in `{name}`{where} cannot be used: {reason}"
    )


def extra_of(module: str) -> str | None:
    """Returns what `pip` installs for a top-level module: `'kauldron[demo]'`."""
    own()
    for package, declaration in _declared.items():
        if declaration is not None and module in declaration.extras:
            name = declaration.distribution or package
            return f"{name}[{declaration.extras[module]}]"
    return None


def register_aliases(aliases: Mapping[str, str]) -> None:
    """Sets how modules are shown, and abbreviated in `py::` overrides.

    Args:
      aliases: Module name -> short name, such as `{"jax.numpy": "jnp"}`.

    Raises:
      ValueError: If a short name already stands for another module.
    """
    own()
    add_aliases(aliases)


def add_aliases(aliases: Mapping[str, str]) -> None:
    known = _qualname.aliases
    for module, alias in aliases.items():
        for other, taken in known.items():
            if taken == alias and other != module:
                raise _errors.ConfigError(
                    f"The alias {alias!r} already stands for {other!r}, so it cannot "
                    f"stand for {module!r} too. Choose another short name."
                )
    known.update(aliases)
