"""The exceptions of type checking."""

from __future__ import annotations

from typing import Any


class KTypeCheckError(TypeError):
    """An argument, a result or a value does not have the annotated type.

    Attributes:
      name: What was checked: the name of an argument, `"return value"`, a field.
      reason: Why it does not fit, one line.
    """

    def __init__(self, message: str, *, name: str = "", reason: str = ""):
        super().__init__(message)
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"name": self.name, "reason": self.reason}
        return type(self), (self.args[0],), state


class AmbiguousDimensionError(KeyError):
    """Several values of a dim fit everything seen so far."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class UnknownDimensionError(KeyError):
    """Nothing seen so far has this dim."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ShapeError(ValueError):
    """A shape cannot be told: a dim in it is unknown or ambiguous."""


class NoActiveScopeError(RuntimeError):
    """There is no `@typechecked` function around that the dims could belong to."""
