"""Lazy proxies of modules and their attributes, which `konfig.imports()` binds.

A proxy knows nothing but its name. Calling it makes a config node; using it as a value
makes a constant.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from kauldron.konfig import _errors
from kauldron.konfig.names import _declarations, _qualname
from kauldron.konfig.tree import _config_dict


class Names:
    """The modules that one `imports()` block has imported, by dotted name."""

    def __init__(self) -> None:
        self.modules: set[str] = set()

    def add(self, module: str) -> None:
        """Remembers a module, and the packages it is in."""
        parts = module.split(".")
        self.modules.update(".".join(parts[: i + 1]) for i in range(len(parts)))


class Proxy(dict):
    """A name of something that is not imported yet.

    It is a dict, `{'__const__': 'module:attribute'}`, so that it can be used wherever
    a config value can. Two proxies are equal if they name the same thing.
    """

    # Dunder names only: everything else is an attribute of the thing that is named.
    __slots__ = ("__konfig_attribute__", "__konfig_module__", "__konfig_names__")

    def __init__(self, module: str, attribute: str = "", names: Names | None = None):
        _set(self, "__konfig_module__", module)
        _set(self, "__konfig_attribute__", attribute)
        _set(self, "__konfig_names__", names)
        super().__init__({_qualname.CONST: qualname_of(self)})

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            return super().__getattribute__(name)
        module = self.__konfig_module__
        attribute = self.__konfig_attribute__
        names = self.__konfig_names__
        if attribute:
            return Proxy(module, f"{attribute}.{name}", names)
        submodule = f"{module}.{name}"
        if names is not None and submodule in names.modules:
            return Proxy(submodule, "", names)
        return Proxy(module, name, names)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(
            f"`{self!r}.{name}` cannot be set: inside `konfig.imports()`, modules are "
            "names only. Change the real module elsewhere, without konfig."
        )

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        node = {str(i): value for i, value in enumerate(args)}
        qualname = as_callable(qualname_of(self))
        return _config_dict.ConfigDict({_qualname.QUALNAME: qualname, **node, **kwargs})

    def __mro_entries__(self, bases: Any) -> NoReturn:
        raise _errors.ConfigTypeError(
            f"`{self!r}` cannot be subclassed: inside `konfig.imports()` it is only a "
            "name. Define classes in a Python module, and import that in the config."
        )

    def __getitem__(self, key: Any) -> Any:
        if key == _qualname.CONST:
            return super().__getitem__(key)
        raise TypeError(
            f"`{self!r}[{key!r}]` cannot be evaluated: inside `konfig.imports()`, "
            "imported names can only be called, and their attributes taken."
        )

    def __or__(self, other: Any) -> ProxyUnion:
        return ProxyUnion(self, other)

    def __ror__(self, other: Any) -> ProxyUnion:
        return ProxyUnion(other, self)

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Proxy):
            return NotImplemented
        return qualname_of(self) == qualname_of(other)

    def __ne__(self, other: Any) -> bool:
        return not self == other

    # `dict` declares it as `None`, which a method could not override.
    __hash__: ClassVar[Any] = lambda self: hash(qualname_of(self))

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        _declarations.meet(self.__konfig_module__)
        return _qualname.shorten(qualname_of(self))

    def __dir__(self) -> list[str]:
        return []

    def __copy__(self) -> Proxy:
        return self

    def __deepcopy__(self, memo: Any) -> Proxy:
        return self

    def __reduce__(self) -> Any:
        return Proxy, (self.__konfig_module__, self.__konfig_attribute__)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()


_set = object.__setattr__


def qualname_of(proxy: Proxy) -> str:
    """Returns `module` or `module:attribute`."""
    attribute = proxy.__konfig_attribute__
    module = proxy.__konfig_module__
    return f"{module}:{attribute}" if attribute else module


def as_callable(qualname: str) -> str:
    """Returns the name with a colon, also for what was imported as a module.

    `from a import b` does not tell whether `b` is a module; calling it does.
    """
    if ":" in qualname:
        return qualname
    module, attribute = _qualname.split(qualname)
    if not attribute:
        raise TypeError(f"The module `{qualname}` cannot be called.")
    return f"{module}:{attribute}"


class ProxyUnion:
    """`left | right` of which at least one side is a proxy, such as `int | np.int32`."""

    def __init__(self, left: Any, right: Any):
        self.left = left
        self.right = right

    def __or__(self, other: Any) -> ProxyUnion:
        return ProxyUnion(self, other)

    def __ror__(self, other: Any) -> ProxyUnion:
        return ProxyUnion(other, self)

    def __as_konfig__(self) -> Any:
        return _config_dict.ConfigDict(
            {
                _qualname.QUALNAME: "operator:or_",
                "0": _as_value(self.left),
                "1": _as_value(self.right),
            }
        )

    def __repr__(self) -> str:
        return f"{self.left!r} | {self.right!r}"


def _as_value(side: Any) -> Any:
    if isinstance(side, type):  # `int | np.float32`: a real class on one side
        return {_qualname.CONST: f"{side.__module__}:{side.__qualname__}"}
    return side
