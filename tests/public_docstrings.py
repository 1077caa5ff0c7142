"""Which public names have no docstring, methods and properties included.

A name that overrides a documented one of a base class, or implements one of a protocol
it derives from, keeps that docstring. So does an attribute that the docstring of its
class lists in `Attributes:`, and a second name of a documented method.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import Iterator
from typing import Any

_MEMBERS = (
    types.FunctionType,
    staticmethod,
    classmethod,
    property,
    functools.cached_property,
)


def public_names(room: types.ModuleType) -> Iterator[tuple[str, Any]]:
    """Yields the classes and functions that a room lists, and their members."""
    for name in room.__all__:
        value = getattr(room, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            yield name, value
        if inspect.isclass(value) and value.__module__.startswith("kauldron"):
            fields = getattr(value, "__dataclass_fields__", {})
            for member, definition in vars(value).items():
                if member.startswith("_") or member in fields:
                    continue
                if isinstance(definition, _MEMBERS):
                    yield f"{name}.{member}", (value, member)


def undocumented(room: types.ModuleType) -> list[str]:
    """Returns the names without a docstring."""
    return [name for name, what in public_names(room) if not _is_documented(what)]


def _is_documented(what: Any) -> bool:
    if isinstance(what, tuple):
        return _is_member_documented(*what)
    own = vars(what).get("__doc__") if inspect.isclass(what) else inspect.getdoc(what)
    made_by_dataclass = f"{getattr(what, '__name__', '')}("
    return bool(own) and not own.startswith(made_by_dataclass)


def _is_member_documented(owner: type, name: str) -> bool:
    definition = vars(owner)[name]
    first_name = getattr(definition, "__name__", name)
    names = {name, first_name} if first_name in dir(owner) else {name}
    return any(
        _docstring(vars(base)[each])
        for base in owner.__mro__
        for each in names
        if each in vars(base)
    ) or any(name in _attributes(base) for base in owner.__mro__)


def _docstring(definition: Any) -> str | None:
    # A member by itself, without what `inspect.getdoc` takes from elsewhere.
    function = getattr(definition, "fget", None) or getattr(
        definition, "__func__", definition
    )
    return getattr(function, "__doc__", None)


def _attributes(owner: type) -> set[str]:
    text = inspect.cleandoc(vars(owner).get("__doc__") or "")
    found = re.search(r"^Attributes:\n((?:[ ]+.*\n|\n)*)", text + "\n", re.MULTILINE)
    return set(re.findall(r"^  (\w+):", found[1], re.MULTILINE)) if found else set()
