"""Key fields: which fields of a class hold keys, and the keys of an object."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from kauldron._base import definitions

_T = TypeVar("_T")


class _KeyToken:
    """Marks an annotation as a key. One instance per loaded module."""

    def __repr__(self) -> str:
        return "kontext.Key"


_TOKEN = _KeyToken()

Context = object
"""Where keys are looked up: any object with attributes or items."""

Key = Annotated[str, _TOKEN]
"""Annotates a field that holds a path into the context, such as `"batch.image"`."""

KeyTree = Annotated[_T | Any, _TOKEN]
"""Annotates a field that holds a tree (dicts, sequences) of paths: `KeyTree[PyTree]`."""


class _Required(str):
    """The text of `REQUIRED`, which lists of arguments show as what it means."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "required"


REQUIRED: Any = _Required("__kontext_required__")
"""The default of a key that has no default: using it is an error that says so."""


def is_key_annotated(cls_or_obj: object) -> bool:
    """Returns whether a class, or the class of an object, declares keys."""
    if hasattr(cls_or_obj, "__kontext_keys__"):
        return True
    cls = cls_or_obj if isinstance(cls_or_obj, type) else type(cls_or_obj)
    return bool(key_fields(cls))


def get_keypaths(keyed_obj: Any) -> dict[str, Any]:
    """Returns the keys of an object by field: a path, a tree of paths, or `None`.

    Fields are found by their annotation: `Key`, `Key | None`, containers of `Key`,
    `KeyTree[...]`. A method `__kontext_keys__(self) -> dict[str, path]` overrides this.
    An object without keys gives an empty dict.
    """
    if hasattr(keyed_obj, "__kontext_keys__"):
        return dict(keyed_obj.__kontext_keys__())
    fields = key_fields(type(keyed_obj))
    return {
        name: _only_entries(getattr(keyed_obj, name), entries)
        for name, entries in fields.items()
    }


def list_keys(tree: Any) -> list[str]:
    """Returns the keys of a tree (dicts, sequences), such as `get_keypaths` gives.

    Keys that are `None` are left out.
    """
    return list(_iter_keys(tree))


def _iter_keys(tree: Any) -> Iterator[str]:
    if isinstance(tree, Mapping):
        for value in tree.values():
            yield from _iter_keys(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _iter_keys(value)
    elif tree is not None:
        yield str(tree)


def _only_entries(value: object, entries: frozenset[str] | None) -> Any:
    if entries is None or not isinstance(value, Mapping):
        return value
    return {name: path for name, path in value.items() if name in entries}


@definitions.cached
def key_fields(cls: type) -> dict[str, frozenset[str] | None]:
    """Returns the fields that hold keys.

    The value is `None`: the whole field is keys; or, for a field typed as a `TypedDict`
    of which only some entries are keys, the names of these.
    """
    fields = {}
    for name, hint in _hints(cls):
        if typing.get_origin(hint) is typing.ClassVar:
            continue
        if _holds_key(hint):
            fields[name] = None
        elif entries := _typed_dict_keys(hint):
            fields[name] = entries
    return fields


def _holds_key(hint: Any) -> bool:
    """Looks through `Optional`, unions, and generics of any depth."""
    if typing.get_origin(hint) is Annotated:
        for token in hint.__metadata__:
            if token is _TOKEN:
                return True
            if type(token).__name__ == "_KeyToken":
                raise RuntimeError(
                    "This class was annotated with a `kontext.Key` that was not "
                    "reloaded together with kontext. Reload the module of the class."
                )
        return _holds_key(hint.__origin__)
    if typing.get_origin(hint) is typing.Callable:
        return False
    return any(_holds_key(arg) for arg in typing.get_args(hint))


def _typed_dict_keys(hint: Any) -> frozenset[str]:
    for candidate in (hint, *typing.get_args(hint)):
        if typing.is_typeddict(candidate):
            return frozenset(n for n, h in _hints(candidate) if _holds_key(h))
    return frozenset()


def _hints(cls: type) -> Iterator[tuple[str, Any]]:
    """Yields every annotated name of a class with its evaluated hint, bases first."""
    try:
        yield from typing.get_type_hints(cls, include_extras=True).items()
        return
    except Exception:  # a name that only exists for type checkers: one by one, then
        pass
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, hint in inspect.get_annotations(base).items():
            hints[name] = _evaluate(hint, base)
    yield from hints.items()


_KEY_NAME = re.compile(r"\b(Key|KeyTree)\b")


def _evaluate(hint: object, cls: type) -> Any:
    """Evaluates one hint; one that cannot be is judged by its words."""
    if not isinstance(hint, str):
        return hint
    module_names = vars(sys.modules.get(cls.__module__, typing))
    try:
        return eval(hint, dict(module_names), dict(vars(cls)))
    except Exception:
        return Key if _KEY_NAME.search(hint) else Any
