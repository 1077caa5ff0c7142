"""Reads the fields of a JSON object, and tells a client which one is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kauldron._base import errors
from kauldron.serve.http._errors import HttpError

_MISSING = object()
REQUIRED: Any = object()
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}


class Fields:
    """The fields of a JSON object. `null` counts as missing.

    Args:
      values: The object.
      where: What the client calls it, such as `messages[0]`; "" for the whole body.

    Raises:
      HttpError: If it is no object; so do all methods, if a field is not what it should be.
    """

    def __init__(self, values: object, where: str = "") -> None:
        self.where = where
        if not isinstance(values, Mapping):
            raise HttpError(
                400,
                f"{where or 'The body'} must be a JSON object: got {shown(values)}.",
                param=where or None,
            )
        self._values = values
        self._asked: set[str] = set()

    def path(self, name: str) -> str:
        """Returns what the client calls a field."""
        return f"{self.where}.{name}" if self.where else name

    def wrong(self, name: str, what: str, **options: Any) -> HttpError:
        """Returns the error of a field: `` `n` must be positive: got -1.``"""
        path = self.path(name)
        value = self._values.get(name)
        return HttpError(
            400, f"`{path}` {what}: got {shown(value)}.", param=path, **options
        )

    def raw(self, name: str, default: Any = None) -> Any:
        """Returns a field as it is.

        Args:
          name: Of the field.
          default: If it is missing; `REQUIRED` is an error then.
        """
        self._asked.add(name)
        value = self._values.get(name)
        if value is not None:
            return value
        if default is REQUIRED:
            path = self.path(name)
            raise HttpError(400, f"`{path}` is missing.", param=path)
        return default

    def _of(self, name: str, kind: type, default: Any) -> Any:
        value = self.raw(name, default)
        if value is not default and type(value) is not kind:
            raise self.wrong(name, f"must be {_KINDS[kind]}")
        return value

    def text(self, name: str, default: Any = None) -> Any:
        """Returns a text."""
        return self._of(name, str, default)

    def flag(self, name: str, default: bool | None = False) -> Any:
        """Returns true or false."""
        return self._of(name, bool, default)

    def number(
        self, name: str, low: float, high: float, default: Any = None
    ) -> float | Any:
        """Returns a number of a range, its ends included."""
        value = self.raw(name, default)
        if value is default:
            return default
        # Comparisons are false for NaN.
        if type(value) not in (int, float) or not low <= value <= high:
            raise self.wrong(name, f"must be a number from {low} to {high}")
        return float(value)

    def integer(
        self, name: str, low: int, high: int | None = None, default: Any = None
    ) -> int | Any:
        """Returns a whole number of a range, its ends included."""
        value = self.raw(name, default)
        if value is default:
            return default
        is_whole = type(value) is int or (type(value) is float and value.is_integer())
        if not is_whole or value < low or (high is not None and value > high):
            most = f"from {low} to {high}" if high is not None else f"of at least {low}"
            raise self.wrong(name, f"must be a whole number {most}")
        return int(value)

    def choice(self, name: str, options: Sequence[str], default: Any = None) -> Any:
        """Returns one of some texts."""
        value = self.raw(name, default)
        if value is not default and value not in options:
            raise self.wrong(name, f"must be one of {', '.join(options)}")
        return value

    def texts(self, name: str, *, most: int | None = None) -> tuple[str, ...]:
        """Returns a list of texts that are not empty; one text counts as a list of it."""
        value = self.raw(name, [])
        value = [value] if isinstance(value, str) else value
        is_right = isinstance(value, list) and all(
            isinstance(t, str) and t for t in value
        )
        if not is_right or (most is not None and len(value) > most):
            count = "" if most is None else f"at most {most} "
            raise self.wrong(
                name, f"must be a list of {count}texts, none of them empty"
            )
        return tuple(value)

    def object(self, name: str) -> Fields | None:
        """Returns an object, or `None`."""
        value = self._of(name, dict, None)
        return None if value is None else Fields(value, self.path(name))

    def required_object(self, name: str) -> Fields:
        """Returns an object."""
        return Fields(self._of(name, dict, REQUIRED), self.path(name))

    def objects(self, name: str, default: Any = None) -> list[Fields]:
        """Returns a list of objects; it is empty if the field is missing."""
        values = self._of(name, list, default) or []
        return [Fields(v, f"{self.path(name)}[{i}]") for i, v in enumerate(values)]

    def accept(self, *names: str) -> None:
        """Says that fields are known, though nothing is done with them."""
        self._asked.update(names)

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Refuses fields that are known, and cannot be obeyed, with a reason for each."""
        for name, reason in reasons.items():
            if self.raw(name) not in (None, False, "", [], {}):
                path = self.path(name)
                message = f"`{path}` is not supported: {reason}"
                raise HttpError(400, message, param=path, code="unsupported_parameter")

    def finish(self) -> None:
        """Refuses fields that nobody has asked for, with the nearest one's name."""
        for name in self._values:
            if name not in self._asked:
                path = self.path(str(name))
                raise HttpError(
                    400,
                    f"Unknown field `{path[:200]}`: extra inputs are not permitted."
                    f"{errors.did_you_mean(str(name)[:100], self._asked)}",
                    param=path[:200],
                    code="unknown_parameter",
                )


def shown(value: object) -> str:
    """Returns a value as a client wrote it, cut to what fits into a message."""
    if isinstance(value, Mapping | list):
        return f"{_KINDS[dict if isinstance(value, Mapping) else list]} of {len(value)}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def parse(body: bytes) -> Fields:
    """Returns the fields of a JSON text.

    Raises:
      HttpError: If it is no JSON, or no object, or holds what no text can hold.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        if rb"\u" in body:
            # A lone half of a surrogate pair is valid JSON, and no text.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise HttpError(400, "The body is nested too deeply.") from None
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise HttpError(400, f"The body is not valid UTF-8: {error.reason}.") from None
    except ValueError as error:
        raise HttpError(400, f"The body is not valid JSON: {error}.") from None
    return Fields(value)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
