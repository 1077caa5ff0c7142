"""The metaclass of self-checking non-array types."""

from __future__ import annotations

from typing import Any

from kauldron.ktyping import _match


class StructuralType(type):
    """A type that checks itself, given what is known of the dims.

    Subclasses define `match`, as `ArrayTypeMeta` does.
    """

    args: tuple[Any, ...] = ()

    def __instancecheck__(cls, value: object) -> bool:
        return bool(cls.match(value, [{}]))

    def __repr__(cls) -> str:
        if not cls.args:
            return cls.__name__
        return f"{cls.__name__}[{', '.join(map(_name, cls.args))}]"

    def __eq__(cls, other: object) -> bool:
        if not isinstance(other, StructuralType):
            return NotImplemented
        return (cls.__name__, cls.args) == (other.__name__, other.args)

    def __hash__(cls) -> int:
        return hash((cls.__name__, cls.args))

    def with_args(cls, *args: Any) -> Any:
        """Returns the type subscripted."""
        if cls.args:
            raise TypeError(f"{cls} is subscripted already.")
        return type(cls)(cls.__name__, (cls,), {"args": args, "__doc__": cls.__doc__})

    def match(
        cls, value: object, candidates: list[_match.Candidate], scope: object = None
    ) -> list[_match.Candidate]:
        """Returns the candidates, extended, with which the value fits."""
        raise NotImplementedError


def _name(arg: Any) -> str:
    plain = isinstance(arg, type) and type(arg) is type
    return arg.__name__ if plain else repr(arg)
