"""Evaluating annotations, any of which may be strings."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

_ROOM = __name__.rpartition(".")[0]


def early_hints(obj: Any) -> dict[str, Any]:
    """Evaluates the textual annotations of something local, while its names exist.

    To be called while a decorator runs.
    """
    annotations = inspect.get_annotations(obj)
    is_local = "<locals>" in getattr(obj, "__qualname__", "")
    if not is_local or not any(isinstance(a, str) for a in annotations.values()):
        return {}
    frame = _decorated_in()
    names = dict(frame.f_locals) if frame is not None else {}
    return dict(_evaluate(annotations, _globals(obj), names))


def late_hints(obj: Any, early: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluates the annotations of a function or class, in order.

    A name that cannot be found, because only type checkers import it, means `Any`.
    """
    annotations = inspect.get_annotations(obj)
    names = {"self": obj} if isinstance(obj, type) else dict(_closure(obj))
    found = dict(_evaluate(annotations, _globals(obj), names))
    return {name: early.get(name, found.get(name, Any)) for name in annotations}


def _evaluate(
    annotations: Mapping[str, Any], global_names: dict[str, Any], names: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    for name, annotation in annotations.items():
        holder = type("_", (), {"__annotations__": {name: annotation}})
        try:
            hints = typing.get_type_hints(
                holder, globalns=global_names, localns=names, include_extras=True
            )
        except (NameError, AttributeError):
            continue
        yield name, hints[name]


def _globals(obj: object) -> dict[str, Any]:
    if isinstance(obj, type):
        return dict(vars(sys.modules.get(obj.__module__, typing)))
    return getattr(obj, "__globals__", {})


def _closure(func: Any) -> Iterator[tuple[str, Any]]:
    if getattr(func, "__closure__", None):
        for name, cell in zip(func.__code__.co_freevars, func.__closure__, strict=True):
            try:
                yield name, cell.cell_contents
            except ValueError:  # not filled yet
                continue


def _decorated_in() -> types.FrameType | None:
    """Returns the frame in which the decorator is used."""
    frame = sys._getframe(1)
    while frame is not None:
        if not frame.f_globals.get("__name__", "").startswith(_ROOM):
            return frame
        frame = frame.f_back
    return None
