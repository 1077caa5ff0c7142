"""Text of an override to a value of the type that the field takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kauldron.konfig import _config_dict, _errors, _literals, _signature, _values

_FLOAT_WORDS = ("inf", "+inf", "-inf", "nan", "infinity", "-infinity")


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
    if value is None or _values.is_call_or_const(value):
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


def to_scalar(field_type: Any, text: str) -> Any:
    """Returns the value of a text for a placeholder of the given type."""
    examples = {bool: True, int: 0, float: 0.0, str: "", list: [], tuple: ()}
    if field_type in examples:
        return to_type_of(examples[field_type], text)
    return _literals.parse(text)


def to_annotation(annotation: Any, text: str) -> Any:
    """Returns the value of a text for a parameter with an annotation.

    Raises:
      Mismatch: If the annotation rules the value out.
    """
    value = _literals.parse(text)
    if _values.is_call_or_const(value):
        return value
    members = _signature.alternatives(annotation) or []
    scalars = [m for m in members if m in (bool, int, float, str)]
    if isinstance(value, str) and text.strip()[:1] in "'\"" and str in scalars:
        return value
    if isinstance(value, list | tuple | dict) and not _signature.is_certain(annotation):
        return value
    if not isinstance(value, str) and not _is_wanted(value, members):
        for member in scalars:  # `1e3` for an int, `123` for a str
            try:
                return to_type_of(member(), text)
            except Mismatch:
                continue
    if isinstance(value, str) and float in scalars and str not in scalars:
        try:
            return _to_float(value, text)
        except Mismatch:
            pass
    if not _signature.accepts(annotation, value, strict=True):
        raise Mismatch(_signature.describe_type(annotation))
    return value


def _is_wanted(value: Any, members: list[Any]) -> bool:
    return type(value) in members or (value is None and type(None) in members)


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
        except OverflowError:
            raise Mismatch("a float of at most 1.8e308") from None
    if isinstance(value, str) and text.strip().lower() in _FLOAT_WORDS:
        return float(text)
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
    if "," not in text or len(text) > 200:
        return ""
    items = ", ".join(repr(item.strip()) for item in text.split(","))
    return f" (did you mean `[{items}]`?)"


Coerce = Callable[[str], Any]


def explain(text: str, expected: str) -> str:
    """Returns what is wrong with a text that does not fit."""
    if not text:
        return f"no value is given; expected {expected}."
    if _literals.looks_broken(text):
        return (
            f"{_errors.short(text)} is no dict or list: "
            f"{_literals.describe_broken(text)}. Expected {expected}."
        )
    value = _literals.parse(text)
    return f"expected {expected}, got {_errors.short(value)} ({type(value).__name__})."
