"""Caches of what follows from the definition of a class or function, until it changes.

Where code is reloaded while it is used, as `%autoreload` of IPython does, classes and
functions are changed in place: they are the same objects with other arguments.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable
from typing import Any, TypeVar

_Result = TypeVar("_Result")

_MAX_KEPT = 4096


def cached(function: Callable[[Any], _Result]) -> Callable[[Any], _Result]:
    """Caches a function of one class or function, as long as that is as it was.

    Only IPython changes what is defined: elsewhere, nothing is compared.

    Raises (when called):
      TypeError: If what it is asked about is not hashable.
    """
    if "IPython" in sys.modules:
        return cached_until_changed(function)
    return functools.lru_cache(maxsize=_MAX_KEPT)(function)


def cached_until_changed(
    function: Callable[[Any], _Result],
) -> Callable[[Any], _Result]:
    """As `cached`, wherever it runs."""
    kept: dict[Any, tuple[tuple[Any, ...], _Result]] = {}

    @functools.wraps(function)
    def get(target: Any) -> _Result:
        marks = _marks(target)
        entry = kept.get(target)
        if entry is not None and _are_same(entry[0], marks):
            return entry[1]
        result = function(target)
        if len(kept) >= _MAX_KEPT:
            kept.clear()
        kept[target] = marks, result
        return result

    return get


def _marks(target: Any) -> tuple[Any, ...]:
    """Returns the objects that are others once a definition has changed."""
    function = target.__init__ if isinstance(target, type) else target
    return (
        getattr(target, "__annotations__", None),
        getattr(target, "__dataclass_fields__", None),
        function,
        getattr(function, "__code__", None),
        getattr(function, "__defaults__", None),
        getattr(function, "__kwdefaults__", None),
    )


def _are_same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    # Kept in `before`, they are alive: no other object has their place in memory.
    return all(map(operator.is_, before, now))
