"""Fields of JSON that somebody else may have written, with their types checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kauldron.apps.bundles.errors import AppError

_NAMES = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


class Fields:
    """Takes fields of an object; `where` says in messages what the object is.

    Raises:
      AppError: If it is no object.
    """

    def __init__(self, entry: object, where: str) -> None:
        if not isinstance(entry, Mapping):
            raise AppError(f"{where} must be an object: got {_short(entry)}.")
        self._entry: Mapping[str, Any] = entry
        self._where = where

    def take(self, name: str, kind: type, default: Any = ...) -> Any:
        """Returns a field of a JSON type.

        Raises:
          AppError: If it is missing and has no default, or is of another type.
        """
        if name not in self._entry:
            if default is ...:
                raise AppError(f"{self._where} lacks {name!r}.")
            return default
        value = self._entry[name]
        # `True` is an `int` of Python, and no number of JSON.
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not fits:
            raise AppError(
                f"{name!r} of {self._where} must be {_NAMES.get(kind, 'a number')}: got "
                f"{_short(value)}."
            )
        return value

    def optional(self, name: str, kind: type) -> Any:
        """Returns a field that may be missing or null."""
        return None if self._entry.get(name) is None else self.take(name, kind)

    def texts(self, name: str, default: Sequence[str] = ()) -> tuple[str, ...]:
        """Returns a list of texts."""
        values = self.take(name, list, list(default))
        if not all(isinstance(value, str) for value in values):
            raise AppError(
                f"{name!r} of {self._where} must be a list of texts: got "
                f"{_short(values)}."
            )
        return tuple(values)

    def texts_by_name(self, name: str) -> dict[str, tuple[str, ...]]:
        """Returns an object of lists of texts."""
        found = Fields(self.take(name, dict, {}), f"{name!r} of {self._where}")
        return {str(key): found.texts(key) for key in found.names}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields that there are."""
        return tuple(self._entry)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
