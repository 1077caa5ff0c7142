"""`PackageDeclaration`: what a package tells konfig about its names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kauldron.konfig import _errors


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
