"""Path builder: `batch.image` in Python instead of `"batch.image"`."""

from __future__ import annotations

import inspect
import typing
from typing import Any, Self, TypeVar, cast

from kauldron._base import errors
from kauldron.kontext import _path

_T = TypeVar("_T")


def path_builder_from(prefix: str, cls: type[_T]) -> _T:
    """Returns an object typed as `cls` that records how it is accessed.

    `str()` of it is the key, and a config accepts it as a value.

    Args:
      prefix: Where the object is in the context.
      cls: What the object looks like; for type checkers and editors only.

    Example:

    ```python
    from kauldron import kontext

    batch = kontext.path_builder_from("batch", dict)
    assert str(batch["image"]) == "batch.image"
    ```
    """
    del cls
    return cast(_T, DynamicPathBuilder(prefix))


class DynamicPathBuilder:
    """Records attribute and item accesses; any name is accepted."""

    __slots__ = ("_path",)

    _path: _path.Path

    def __init__(self, prefix: str | _path.Path = ""):
        path = prefix if isinstance(prefix, _path.Path) else _path.Path.from_str(prefix)
        object.__setattr__(self, "_path", path)

    def __getattr__(self, name: str) -> Any:
        # Protocol look-ups (copying, displaying) must not be taken for keys.
        if name.startswith("_") and name != "__call__":
            raise AttributeError(name)
        return _extend(self, name)

    def __getitem__(self, part: object) -> Any:
        return _extend(self, part)

    def __iter__(self) -> Any:
        raise TypeError(f"The key {str(self)!r} cannot be iterated over.")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"The key {str(self)!r} cannot be changed.")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DynamicPathBuilder):
            return NotImplemented
        return self._path == other._path

    def __hash__(self) -> int:
        return hash(self._path)

    def __str__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __kontext_path__(self) -> _path.Path:
        """Lets kontext functions take the builder where they take a path."""
        return self._path

    def __as_konfig__(self) -> str:
        """The value a config holds for it."""
        return str(self)


class AnnotatedPathBuilder(DynamicPathBuilder):
    """A path builder that accepts only the attributes its class annotates.

    Example:

    ```python
    from kauldron.kontext import path_builder


    class Batch(path_builder.AnnotatedPathBuilder):
        image: str
        label: str


    assert str(Batch("batch").image) == "batch.image"
    ```
    """

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls._names = frozenset(
            name
            for base in cls.__mro__
            for name in inspect.get_annotations(base)
            if not name.startswith("_")
        )

    _names: typing.ClassVar[frozenset[str]] = frozenset()

    def __getattr__(self, name: str) -> Any:
        if name in self._names:
            hint = _annotation(type(self), name)
            if isinstance(hint, type) and issubclass(hint, DynamicPathBuilder):
                return hint(_path.Path(*self._path, name))
            return _extend(self, name)
        raise AttributeError(
            f"{type(self).__name__} has no key {name!r}; it has "
            f"{', '.join(sorted(self._names))}.{errors.did_you_mean(name, self._names)}"
        )

    def __dir__(self) -> list[str]:
        return sorted(self._names)

    @classmethod
    def at(cls, prefix: str) -> Self:
        """Returns a builder whose keys begin with `prefix`."""
        return cls(prefix)


def _extend(builder: DynamicPathBuilder, part: object) -> DynamicPathBuilder:
    return DynamicPathBuilder(_path.Path(*builder._path, part))


def _annotation(cls: type, name: str) -> Any:
    try:
        return typing.get_type_hints(cls).get(name)
    except NameError:
        return None
