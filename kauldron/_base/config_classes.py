"""Classes whose objects configs describe: what type checkers may know of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

_Class = TypeVar("_Class")


def required() -> Any:
    """A field without a default; which a config sets after it has made the node."""
    return dataclasses.field()


@dataclass_transform(kw_only_default=True, field_specifiers=(dataclasses.field,))
def frozen(cls: type[_Class]) -> type[_Class]:
    """Makes a frozen dataclass; to type checkers its fields can be set, as in configs."""
    return dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)


def leaves_unresolved(
    *names: str,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function that a config calls: it gets these arguments as configs."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        vars(function)["__konfig_resolve_exclude_fields__"] = names
        return function

    return decorate
