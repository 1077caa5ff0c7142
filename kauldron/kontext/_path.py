"""`Path` and `GlobPath`: immutable sequences of parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self, overload

from kauldron.kontext import _access, _glob, _grammar

Wildcard = _grammar.Wildcard


class _PartsSequence(Sequence[Any]):
    """What both kinds of paths share."""

    __slots__ = ("_hash", "_parts")

    _parts: tuple[Any, ...]
    _hash: int | None

    def __init__(self, *parts: Any):
        self._parts = parts
        self._hash = None

    @classmethod
    def _from_parts(cls, parts: tuple[Any, ...]) -> Self:
        """Makes a path of parts as the parser gives them."""
        path = cls.__new__(cls)
        path._parts = parts
        path._hash = None
        return path

    @classmethod
    def from_str(cls, text: str) -> Self:
        """Parses a path such as `"batch.image"` or `"a['b c'][0].d"`.

        Raises:
          PathSyntaxError: A `ValueError` that names the position.
        """
        return cls._from_parts(_grammar.parse(text))

    @classmethod
    def from_jax_path(cls, jax_path: Sequence[Any]) -> Self:
        """Converts the key path that `jax.tree_util` gives to a leaf."""
        return cls._from_parts(tuple(_from_jax_key(key) for key in jax_path))

    @property
    def parts(self) -> tuple[Any, ...]:
        return self._parts

    def relative_to(self, other: Self) -> Self:
        """Returns what follows the prefix `other`.

        Raises:
          ValueError: If `other` is not a prefix of this path.
        """
        if self._parts[: len(other)] != other.parts:
            raise ValueError(f"{str(self)!r} does not begin with {str(other)!r}.")
        return self._from_parts(self._parts[len(other) :])

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._from_parts(self._parts[index])
        return self._parts[index]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parts)

    def __add__(self, other: object) -> Self:
        if not isinstance(other, _PartsSequence | tuple):
            return NotImplemented
        return self._from_parts((*self._parts, *other))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, type(self)) or isinstance(self, type(other)):
            return self._parts == getattr(other, "_parts", None)
        return NotImplemented

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(tuple(_hashable(p) for p in self._parts))
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._from_parts, (self._parts,)

    def __str__(self) -> str:
        return _grammar.format_parts(self._parts)

    __repr__ = __str__


class Path(_PartsSequence):
    """A path to one value: `Path("a", 0, "b")` is `a[0].b`.

    `repr` is canonical: `Path.from_str(repr(path)) == path`.

    Example:

    ```python
    from kauldron import kontext

    path = kontext.Path.from_str("a[0].b")
    assert path.get_from({"a": [{"b": 1}]}) == 1
    ```
    """

    __slots__ = ()

    def __init__(self, *parts: Any):
        super().__init__(*parts)
        self._refuse_wildcards()

    @classmethod
    def _from_parts(cls, parts: tuple[Any, ...]) -> Self:
        path = super()._from_parts(parts)
        path._refuse_wildcards()
        return path

    def _refuse_wildcards(self) -> None:
        for part in self._parts:
            if isinstance(part, Wildcard):
                raise ValueError(
                    f"A `Path` names one value, so it cannot hold {part.value!r}: got "
                    f"{str(self)!r}. Use `kontext.GlobPath`."
                )

    def get_from(
        self, context: object, *, default: object = ..., err_spec: bool = False
    ):
        """Returns the value at this path; see `kontext.get_by_path`.

        Args:
          context: Where to look.
          default: Returned when there is no such path. `...`: raise.
          err_spec: Whether the error also lists the structure of `context`.
        """
        return _access.get_parts(
            context, self._parts, default=default, with_structure=err_spec
        )

    def set_in(self, context: object, value: object) -> None:
        """Sets the value at this path; see `kontext.set_by_path`."""
        _glob.set_parts(context, self._parts, value)


class GlobPath(_PartsSequence):
    """A path that may hold `*` (one level) and `**` (zero or more levels).

    In the constructor, the strings `'*'` and `'**'` are wildcards. A key that really
    is a star is written `GlobPath.from_str("a['*']")`.
    """

    __slots__ = ()

    def __init__(self, *parts: Any):
        super().__init__(*(_STARS.get(p, p) if type(p) is str else p for p in parts))

    @property
    def has_wildcard(self) -> bool:
        """Whether `*` or `**` is among its parts, so that it may match several paths."""
        return any(isinstance(part, Wildcard) for part in self._parts)

    @property
    def first_non_glob_parent(self) -> Path:
        """The parts before the first wildcard; all of them if there is none."""
        for i, part in enumerate(self._parts):
            if isinstance(part, Wildcard):
                return Path._from_parts(self._parts[:i])
        return Path._from_parts(self._parts)

    def set_in(self, context: object, value: object) -> list[str]:
        """Sets every matching value; returns their paths. See `kontext.set_by_path`."""
        return _glob.set_parts(context, self._parts, value)


_STARS = {wildcard.value: wildcard for wildcard in Wildcard}


def _from_jax_key(key: object) -> Any:
    # The key classes of `jax.tree_util` are told apart by name, so that this module
    # (and a config that is only shown) does not import JAX.
    for attribute in ("name", "key", "idx"):  # GetAttrKey; DictKey, Flattened; Sequence
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return key


def _hashable(part: object) -> Any:
    if isinstance(part, slice):  # unhashable before Python 3.12
        return ("slice", part.start, part.stop, part.step)
    if type(part) is tuple:
        return tuple(_hashable(p) for p in part)
    return part
