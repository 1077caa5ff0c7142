"""Overrides: `a.b[0]=value` applied to a config, typed, checked, in any order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from kauldron import kontext
from kauldron._base import errors
from kauldron.konfig import _errors, _origin

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

    @property
    def parts(self) -> Parts:
        return _parse_path(self).parts

    @property
    def is_glob(self) -> bool:
        return _parse_path(self).has_wildcard


def _parse_path(override: Override) -> kontext.GlobPath:
    try:
        path = kontext.GlobPath.from_str(override.path)
    except ValueError as error:
        raise _errors.ConfigError(f"{override.label}: {error}") from error
    if not len(path):
        raise _errors.ConfigError(
            f"{override.label}: no field is named. Write `--cfg.field=value`."
        )
    return path


def from_mapping(values: Any) -> list[Override]:
    """Returns overrides from `{path: value}`; values are taken as they are."""
    return [Override(path, value, is_text=False) for path, value in values.items()]


def apply_overrides(
    cfg: Any,
    overrides: Iterable[Override],
    *,
    tell: Callable[[str], None] = lambda message: None,
) -> None:
    """Sets fields of a config, in place.

    The order does not matter: whole nodes are set before fields in them, and a field
    named in full wins over a glob. Of the same path given twice, the last wins.

    Args:
      cfg: The config.
      overrides: What to set.
      tell: Gets a line for each glob and for each path given twice.

    Raises:
      ConfigError: A `UserError`, also of the builtin type that fits: no such field, a
        value of the wrong type.
    """
    unique = _keep_last(overrides, tell)
    plain = sorted((o for o in unique if not o.is_glob), key=lambda o: len(o.parts))
    globs = [o for o in unique if o.is_glob]
    for override in plain:
        set_one(cfg, override, override.parts, tell)
    if not globs:
        return
    from kauldron.konfig import _globs

    changed = _globs.apply(cfg, globs, {o.parts for o in plain}, tell)
    for override in plain:  # a glob may have replaced what they are in
        parts = override.parts
        if any(parts[: len(above)] == above for above in changed):
            set_one(cfg, override, parts, tell)


def _keep_last(
    overrides: Iterable[Override], tell: Callable[[str], None]
) -> list[Override]:
    last: dict[Any, Override] = {}
    for override in overrides:
        key = str(_parse_path(override))
        if key in last and last[key].value != override.value:
            tell(f"{override.name} is given twice: {override.label} wins.")
        last.pop(key, None)
        last[key] = override
    return list(last.values())


def set_one(
    cfg: Any,
    override: Override,
    parts: Parts,
    tell: Callable[[str], None] = lambda message: None,
) -> None:
    """Sets one path, which a glob may have matched."""
    from kauldron.konfig import _setter

    try:
        with _origin.declare(_origin.Origin(override.label)):
            _setter.Setter(override, parts, tell).set(cfg)
    except RecursionError:
        raise _errors.ConfigError(
            f"{override.label}: the value is nested too deeply."
        ) from None
    except errors.UserError as error:
        if str(error).startswith(f"{override.label}: "):
            raise
        raise _errors.like(type(error))(f"{override.label}: {error}") from error
