"""Deprecated method names, kept for one release after a rename."""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Renaming(NamedTuple):
    """Renamed methods of a class.

    Attributes:
      cls: The class, as `'module:Name'`.
      names: Old name -> new name.
      removed_in: Version of the package that knows the old names no more.
    """

    cls: str
    names: Mapping[str, str]
    removed_in: str


RENAMINGS: list[Renaming] = []


def rename_methods(
    names: Mapping[str, str], *, removed_in: str
) -> Callable[[type], type]:
    """Decorates a class whose methods were renamed, and those that derive from it.

    A subclass may still define a method under its old name: it then overrides the new
    one. Old names can still be called, through `self` and through `super()`. Both warn.

    Args:
      names: Old name -> new name.
      removed_in: Version of the package that knows the old names no more.
    """

    def decorate(cls: Any) -> Any:
        RENAMINGS.append(
            Renaming(f"{cls.__module__}:{cls.__qualname__}", names, removed_in)
        )
        inherited = cls.__dict__.get("__init_subclass__")

        def __init_subclass__(sub: Any, **kwargs: Any) -> None:
            if inherited is None:
                super(cls, sub).__init_subclass__(**kwargs)
            else:
                inherited.__func__(sub, **kwargs)
            _follow(sub, names, removed_in)

        cls.__init_subclass__ = classmethod(__init_subclass__)
        _follow(cls, names, removed_in)
        return cls

    return decorate


def _follow(cls: type, names: Mapping[str, str], removed_in: str) -> None:
    for old, new in names.items():
        message = (
            f"`{cls.__name__}.{old}` is spelled `{new}` now. The old name is gone in "
            f"version {removed_in}."
        )
        defined = vars(cls)
        if new in defined:
            setattr(cls, old, _warning(defined[new], message))
        elif old in defined and isinstance(defined[old], types.FunctionType):
            warnings.warn(message, DeprecationWarning, stacklevel=3)
            setattr(cls, new, defined[old])


def _warning(method: Callable[..., Any], message: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def renamed(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return method(*args, **kwargs)

    return renamed
