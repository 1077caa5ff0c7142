"""One override: a path of a config, and what to set there."""

from __future__ import annotations

import dataclasses
import functools
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

    @property
    def label(self) -> str:
        text = self.flag or f"{self.path}={self.value!r}"
        return text if len(text) <= _MAX_FLAG else f"{text[:_MAX_FLAG]}…"

    @property
    def name(self) -> str:
        """The flag without its value."""
        return (self.flag or self.path).partition("=")[0]

    @functools.cached_property
    def glob_path(self) -> kontext.GlobPath:
        """The path, parsed.

        Raises:
          ConfigError: If it is no path, or names nothing.
        """
        try:
            path = kontext.GlobPath.from_str(self.path)
        except ValueError as error:
            raise _errors.ConfigError(f"{self.label}: {error}") from error
        if not len(path):
            raise _errors.ConfigError(
                f"{self.label}: no field is named. Write `--cfg.field=value`."
            )
        return path

    @property
    def parts(self) -> Parts:
        return self.glob_path.parts

    @functools.cached_property
    def is_glob(self) -> bool:
        return self.glob_path.has_wildcard


def from_mapping(values: Any) -> list[Override]:
    """Returns overrides from `{path: value}`; values are taken as they are."""
    return [Override(path, value, is_text=False) for path, value in values.items()]
