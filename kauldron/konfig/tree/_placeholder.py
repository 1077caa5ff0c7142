"""Placeholders: typed fields that have no value yet."""

from __future__ import annotations

import os
from typing import Any

from ml_collections import config_dict

from kauldron.konfig import _errors


class Placeholder(config_dict.FieldReference):
    """A field without a value yet, whose type is known."""

    def get(self) -> Any:
        if self._required and self._value is None:
            raise _errors.RequiredValueError(
                "A required value is not set" + describe_type(self._field_type) + "."
            )
        return super().get()

    def set(self, value: Any, type_safe: bool = True) -> None:
        if isinstance(value, os.PathLike) and self._field_type is str:
            value = os.fspath(value)
        super().set(value, type_safe)

    @property
    def is_required(self) -> bool:
        return self._required

    @property
    def is_unset(self) -> bool:
        return self._value is None

    def __repr__(self) -> str:
        name = getattr(self._field_type, "__name__", repr(self._field_type))
        if not self.is_unset:
            return repr(self._value)
        return f"konfig.{'required' if self._required else 'placeholder'}({name})"


def describe_type(field_type: Any) -> str:
    """Returns `" (expected: int)"`, or nothing for a field of any type."""
    if field_type is object:
        return ""
    return f" (expected: {getattr(field_type, '__name__', field_type)})"


def is_required_unset(value: Any) -> bool:
    """Returns whether reading the value raises, because it was never set."""
    return isinstance(value, Placeholder) and value.is_required and value.is_unset
