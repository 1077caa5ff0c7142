"""Package declarations: how konfig finds what a package says about its names.

konfig knows no package by name. A package that wants to be known has a module
`_konfig_package` with a `DECLARATION`; it is imported when a config first names something
of the package.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kauldron._base import errors
from kauldron.konfig import _errors, _origin
from kauldron.konfig.names import _finder, _qualname

if TYPE_CHECKING:
    from kauldron.konfig.names import _package_declaration

MODULE = "_konfig_package"
VARIABLE = "DECLARATION"
OWN_PACKAGE = __name__.partition(".")[0]


# Package -> what it declares; `None` if nothing.
_declared: dict[str, _package_declaration.PackageDeclaration | None] = {}
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


def meet(qualname: Any) -> _package_declaration.PackageDeclaration | None:
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


def own() -> _package_declaration.PackageDeclaration | None:
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


def _load(package: str) -> _package_declaration.PackageDeclaration:
    name = f"{package}.{MODULE}"
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise malformed(package, f"{type(error).__name__}: {error}") from error
    from kauldron.konfig.names import _package_declaration  # it has imported it

    declaration = getattr(module, VARIABLE, None)
    if not isinstance(declaration, _package_declaration.PackageDeclaration):
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
