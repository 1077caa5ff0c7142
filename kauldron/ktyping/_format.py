"""Formatting of values and annotations in messages."""

from __future__ import annotations

import inspect
import typing
from typing import Any

from kauldron.kontext import format_dtype


def format_value(value: object, *, max_length: int = 60) -> str:
    """Returns what a message shows of a value: `f32[32,128]`, `None`, `dict(a, b)`."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None and not isinstance(value, type):
        return f"{format_dtype(dtype)}[{','.join(map(str, shape))}]"
    if isinstance(value, dict) and value:
        items = [f"{key}: {format_value(item)}" for key, item in value.items()]
        return _shorten(f"{{{', '.join(items)}}}", max_length)
    if isinstance(value, list | tuple) and value:
        left, right = "[]" if isinstance(value, list) else "()"
        items = ", ".join(map(format_value, value[:20]))
        return _shorten(f"{left}{items}{right}", max_length)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return _shorten(repr(value), max_length)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"a {type(value).__name__}"


def _shorten(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"


def format_hint(hint: object) -> str:
    """Returns an annotation as one would write it."""
    if isinstance(hint, str):
        return hint
    if hint is None or hint is type(None):
        return "None"
    if hint is ...:
        return "..."
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return format_hint(args[0])
    if origin is typing.Union or type(hint).__name__ == "UnionType":
        return " | ".join(map(format_hint, args))
    if isinstance(origin, type) and args and origin.__module__ == "builtins":
        return f"{origin.__name__}[{', '.join(map(format_hint, args))}]"
    if type(hint) is type:
        return hint.__qualname__
    return repr(hint).replace("typing.", "")


def format_location(func: Any) -> str:
    """Returns `name (file:line)` of a function or class."""
    target = inspect.unwrap(func)
    name = getattr(target, "__qualname__", repr(target)).replace(".<locals>", "")
    code = getattr(target, "__code__", None)
    if code is not None:
        return f"{name} ({code.co_filename}:{code.co_firstlineno})"
    try:
        line = inspect.getsourcelines(target)[1]
        return f"{name} ({inspect.getsourcefile(target)}:{line})"
    except (OSError, TypeError):
        return f"{name} ({getattr(target, '__module__', 'unknown module')})"
