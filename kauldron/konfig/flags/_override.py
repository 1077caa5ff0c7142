"""A single override: a config path, and the value to set there."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

from kauldron import kontext
from kauldron.konfig import _errors

Parts = tuple[Any, ...]
_MAX_FLAG = 120


@dataclasses.dataclass(frozen=True)
class Override:
    """One assignment to a path of a config.

    Attributes:
      path: Such as `optimizer.learning_rate`, `evals.*.num_batches`.
      value: Text, to be parsed as the field's type; or any value if not `is_text`.
      flag: How the user wrote it, for messages.
      is_text: Whether `value` is text of the command line.
      is_bare: Whether the flag has no value, which means true.
    """

    path: str
    value: Any
    flag: str = ""
    is_text: bool = True
    is_bare: bool = False

    @functools.cached_property
    def label(self) -> str:
        """How messages name it: the flag as it was written, cut if it is long."""
        text = self.flag or f"{self.path}={self.value!r}"
        return text if len(text) <= _MAX_FLAG else f"{text[:_MAX_FLAG]}…"

    @property
    def name(self) -> str:
        """The flag without its value."""
        return (self.flag or self.path).partition("=")[0]

    @functools.cached_property
    def parts(self) -> Parts:
        """The path, parsed.

        Raises:
          ConfigError: If it is not a path, or names nothing.
        """
        try:
            parts = kontext.GlobPath.from_str(self.path).parts
        except ValueError as error:
            raise _errors.ConfigError(f"{self.label}: {error}") from error
        if not parts:
            raise _errors.ConfigError(
                f"{self.label}: no field is named. Write `--cfg.field=value`."
            )
        return parts

    @functools.cached_property
    def is_glob(self) -> bool:
        """Whether the path has `*` or `**`, and so may set several fields."""
        parts = self.parts
        return kontext.Wildcard.STAR in parts or kontext.Wildcard.DOUBLE_STAR in parts


def from_mapping(values: Any) -> list[Override]:
    """Returns overrides from `{path: value}`; values are taken as they are."""
    return [Override(path, value, is_text=False) for path, value in values.items()]


def arrange(
    overrides: Iterable[Override], tell: Callable[[str], None]
) -> tuple[list[Override], list[Override]]:
    """Returns the overrides of single fields, and those of many, in the order to apply.

    Of the same path given twice, the last stays. Whole nodes come before fields in them.

    Args:
      overrides: In any order.
      tell: Gets a line for each path given twice.
    """
    last: dict[str, Override] = {}
    for override in overrides:
        key = repr(override.parts)
        if key in last and last[key].value != override.value:
            tell(f"{override.name} is given twice: {override.label} wins.")
        last.pop(key, None)
        last[key] = override
    plain = sorted(
        (o for o in last.values() if not o.is_glob), key=lambda o: len(o.parts)
    )
    return plain, [o for o in last.values() if o.is_glob]
