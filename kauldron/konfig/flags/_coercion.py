"""Type coercion of override values to the type of their field."""

from __future__ import annotations

import math
import typing
from typing import Any

from kauldron._base import errors
from kauldron.konfig import _errors
from kauldron.konfig.names import _annotations, _qualname
from kauldron.konfig.text import _literals
from kauldron.konfig.tree import _config_dict, _values


class Mismatch(Exception):
    """Internal: the value does not fit; `expected` says what does."""

    def __init__(self, expected: str):
        super().__init__(expected)
        self.expected = expected


def to_type_of(current: Any, text: str) -> Any:
    """Returns the value of a text for a field that has a value already.

    Raises:
      Mismatch: If the text does not fit.
    """
    value = _literals.parse(text)
    is_node = isinstance(value, _config_dict.ConfigDict)
    if value is None or (is_node and _values.is_call_or_const(value)):
        return value
    if isinstance(current, bool):
        return _to_bool(value, text)
    if isinstance(current, int):
        return _to_int(value, text)
    if isinstance(current, float):
        return _to_float(value, text)
    if isinstance(current, str):
        return _to_str(value, text)
    if isinstance(current, list | tuple):
        if isinstance(value, list | tuple):
            return type(current)(value)
        raise Mismatch("a list, such as `[1, 2]`" + _quote_hint(text))
    if isinstance(current, _config_dict.ConfigDict):
        return _to_node(current, value)
    return value


def to_untyped(text: str) -> Any:
    """Returns the value of a text where nothing tells a type.

    Raises:
      Mismatch: If it is not a value: no text at all, a list without its end.
    """
    if not text or _literals.looks_broken(text):
        raise Mismatch("a value")
    return _literals.parse(text)


def to_scalar(field_type: Any, text: str) -> Any:
    """Returns the value of a text for a placeholder of the given type."""
    examples = {bool: True, int: 0, float: 0.0, str: "", list: [], tuple: ()}
    if field_type in examples:
        return to_type_of(examples[field_type], text)
    return to_annotation(field_type, text)


def to_annotation(annotation: Any, text: str) -> Any:
    """Returns the value of a text for a parameter with an annotation.

    Of a union, the member counts whose type the literal has by itself; else the first
    one that it can be converted to without loss; last `str`, as the text.

    Raises:
      Mismatch: If the annotation rules the value out.
    """
    value = _literals.parse(text)
    if value is None or _values.is_call_or_const(value):
        return value
    if isinstance(value, dict) and (
        _qualname.QUALNAME in value or _qualname.CONST in value
    ):
        return value
    members = _annotations.alternatives(annotation)
    if members is None:
        return value
    found = [_to_member(member, value, text) for member in members]
    matches = [match for match in found if match is not None]
    if not matches:
        raise Mismatch(_expected(annotation, members, text))
    best = min(matches, key=lambda match: match[0])
    return best[1]


def to_declared_scalar(annotation: Any, text: str) -> Any:
    """Returns the number or bool that a text stands for, if an annotation names its type.

    `None` if it stands for no such value, or if only a type that is not known takes it.
    """
    value = _literals.parse(text)
    if not isinstance(value, bool | int | float):
        return None
    members = _annotations.alternatives(annotation) or []
    certain = [m for m in members if _annotations.is_certain_member(m)]
    found = [_to_member(member, value, None) for member in certain]
    matches = [match for match in found if match is not None]
    return min(matches, key=lambda match: match[0])[1] if matches else None


# How well a literal fits a member of a union.
_EXACT, _CONVERTED, _MAYBE, _AS_TEXT, _ANYTHING = range(5)
_Match = tuple[int, Any] | None


def _to_member(member: Any, value: Any, text: str | None) -> _Match:
    """Returns how well a value fits a member of a union, and what it becomes.

    Args:
      member: The annotation.
      value: What the text stands for.
      text: The text; `None` for an item of a list, which has none of its own.
    """
    if not _annotations.is_certain_member(member):
        is_container = isinstance(value, list | tuple | set | dict)
        return (_MAYBE if is_container else _ANYTHING), value
    if typing.get_origin(member) is typing.Literal:
        return _to_literal(member, value, text)
    if _annotations.is_enum(member):
        return _to_enum(member, value, text)
    if _annotations.is_path(member):
        path = value if isinstance(value, str) else text
        return None if path is None else (_CONVERTED, path)
    if (kind := _annotations.sequence_type(member)) is not None:
        return _to_sequence(member, kind, value)
    if _annotations.is_mapping(member):
        return (_EXACT, value) if isinstance(value, dict) else None
    if type(value) is member:
        return _EXACT, value
    if member is str and text is not None:
        return _AS_TEXT, text
    convert = {bool: _to_bool, int: _to_int, float: _to_float}.get(member)
    if convert is None:  # a record, bytes, `None`
        return None
    try:
        return _CONVERTED, convert(value, text or "")
    except Mismatch:
        return None


def _to_literal(member: Any, value: Any, text: str | None) -> _Match:
    choices = typing.get_args(member)
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return _EXACT, choice
    for choice in choices:
        if isinstance(choice, str) and text is not None and choice == text.strip():
            return _CONVERTED, choice
        if _is_same_number(choice, value):
            return _CONVERTED, choice
    return None


def _is_same_number(a: Any, b: Any) -> bool:
    are_numbers = all(isinstance(x, int | float) for x in (a, b))
    is_any_bool = isinstance(a, bool) or isinstance(b, bool)
    return are_numbers and not is_any_bool and a == b


def _to_enum(member: Any, value: Any, text: str | None) -> _Match:
    """Finds a member by its name, or its value; a config holds it by its name."""
    names = member.__members__
    name = text.strip() if text is not None else value
    if not (isinstance(name, str) and name in names):
        of_value = [n for n, m in names.items() if type(m.value) is type(value)]
        name = next((n for n in of_value if names[n].value == value), None)
    if name is None:
        return None
    const = f"{member.__module__}:{member.__qualname__}.{name}"
    return _CONVERTED, _config_dict.ConfigDict({_qualname.CONST: const})


def _to_sequence(member: Any, kind: type, value: Any) -> _Match:
    if not isinstance(value, list | tuple | set):
        return None
    wanted = _annotations.item_types(member, len(value))
    if wanted is None:
        return None
    items = []
    for item_type, item in zip(wanted, value, strict=True):
        alternatives = _annotations.alternatives(item_type) or [Any]
        found = [_to_member(m, item, None) for m in alternatives]
        matches = [match for match in found if match is not None]
        if not matches and not _values.is_call_or_const(item):
            return None
        best = min(matches, key=lambda match: match[0]) if matches else (0, item)
        items.append(best[1])
    if isinstance(value, set):
        return _CONVERTED, set(items)
    return (_EXACT if isinstance(value, kind) else _CONVERTED), kind(items)


def _expected(annotation: Any, members: list[Any], text: str) -> str:
    """Returns what a text should have been."""
    described = _annotations.describe(annotation)
    if any(_annotations.sequence_type(m) is not None for m in members):
        is_broken = _literals.looks_broken(text)
        return described + (
            "" if is_broken else _quote_hint(text) or _item_hint(members, text)
        )
    choices = [choice for m in members for choice in _choices(m)]
    if near := errors.nearest(text.strip(), choices, n=1):
        return f"{described} (did you mean {near[0]!r}?)"
    return described


def _choices(member: Any) -> list[str]:
    """Returns the texts that a `Literal` or an enum takes."""
    if typing.get_origin(member) is typing.Literal:
        return [c for c in typing.get_args(member) if isinstance(c, str)]
    return list(member.__members__) if _annotations.is_enum(member) else []


def _item_hint(members: list[Any], text: str) -> str:
    """Returns how one item is written where a list is expected: `[3]`, `(3,)`."""
    item = _literals.parse(text)
    for member in members:
        kind = _annotations.sequence_type(member)
        if kind is not None and (match := _to_sequence(member, kind, [item])):
            written = repr(match[1])
            return f", such as `{written}`" if len(written) <= 60 else ""
    return ""


def _to_bool(value: Any, text: str) -> bool:
    if isinstance(value, bool):
        return value
    if value in (0, 1) and text.strip() in ("0", "1"):
        return bool(value)
    raise Mismatch("a bool, `true` or `false`")


def _to_int(value: Any, text: str) -> int:
    del text
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    raise Mismatch("an int")


def _to_float(value: Any, text: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:  # an int of 309 digits
            raise Mismatch("a float of at most 1.8e308") from None
    raise Mismatch("a float")


def _to_str(value: Any, text: str) -> str:
    return value if isinstance(value, str) else text


def _to_node(current: Any, value: Any) -> Any:
    if _values.is_call_or_const(current):
        if isinstance(value, dict) and (
            "__qualname__" in value or "__const__" in value
        ):
            return value
        raise Mismatch("a call, such as `py::module.Class(argument=1)`, or `None`")
    if isinstance(value, dict):
        return value
    raise Mismatch("a dict, such as `{'a': 1}`")


def _quote_hint(text: str) -> str:
    if "," not in text or len(text) > 200 or set(text) & set("[](){}'\""):
        return ""
    items = ", ".join(repr(item.strip()) for item in text.split(","))
    return f" (did you mean `[{items}]`?)"


def explain(text: str, expected: str) -> str:
    """Returns what is wrong with a text that does not fit."""
    if not text:
        return f"no value is given; expected {expected}."
    if _literals.looks_broken(text):
        what = "text in quotes" if _literals.is_quoted(text) else "dict or list"
        return (
            f"{_errors.short(text)} is no {what}: "
            f"{_literals.describe_broken(text)}. Expected {expected}."
        )
    value = _literals.parse(text)
    return f"expected {expected}, got {_errors.short(value)} ({type(value).__name__})."
