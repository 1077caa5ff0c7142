"""Unknown constructor arguments: an error that suggests the nearest name."""

from __future__ import annotations

import inspect
from typing import Any, Self

from kauldron._base import definitions, errors


class ArgumentError(errors.UserError, TypeError):
    """A constructor has no argument of this name."""


class NamesArguments:
    """Base whose subclasses suggest the nearest name for an unknown argument.

    In a config the names are checked before anything is built; this is for objects that
    are made in Python. Only names are checked: Python's own errors for missing or
    duplicate arguments are clear enough.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        names = _names_of(cls)
        if names is not None and not (kwargs.keys() <= names.keys()):
            _refuse(cls, [name for name in kwargs if name not in names], names)
        if args and cls.__init__ is object.__init__:
            raise ArgumentError(f"`{cls.__name__}` takes no arguments: got {args!r}.")
        return super().__new__(cls)


@definitions.cached
def _names_of(cls: type) -> dict[str, None] | None:
    """Returns the argument names a class accepts; `None` if it accepts any."""
    if cls.__init__ is object.__init__:
        return {}
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name: None for p in parameters if p.kind is not p.POSITIONAL_ONLY}


def _is_annotated(cls: type, name: str) -> bool:
    return any(name in inspect.get_annotations(base) for base in cls.__mro__)


def _refuse(cls: type, unknown: list[str], names: dict[str, None]) -> None:
    public = [name for name in names if not name.startswith("_")]
    told = [f"{name!r}.{errors.did_you_mean(name, public)}" for name in unknown]
    if any(_is_annotated(cls, name) for name in unknown):
        told[-1] += (
            " It is annotated in the class, but it is not a field: put "
            "`@dataclasses.dataclass(frozen=True, kw_only=True)` before the class."
        )
    takes = f"Its arguments: {', '.join(public)}." if public else "It has none."
    raise ArgumentError(
        f"`{cls.__name__}` has no argument {' And no '.join(told)} {takes}"
    )
