"""Overrides: `a.b[0]=value` applied to a config, typed, checked, in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kauldron.konfig.flags import _globs, _override, _setter


def apply_overrides(
    cfg: Any,
    overrides: Iterable[_override.Override],
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
        _setter.set_one(cfg, override, override.parts, tell)
    if not globs:
        return
    changed = _globs.apply(cfg, globs, {o.parts for o in plain}, tell)
    for override in plain:  # a glob may have replaced what they are in
        parts = override.parts
        if any(parts[: len(above)] == above for above in changed):
            _setter.set_one(cfg, override, parts, tell)


def _keep_last(
    overrides: Iterable[_override.Override], tell: Callable[[str], None]
) -> list[_override.Override]:
    last: dict[Any, _override.Override] = {}
    for override in overrides:
        key = str(override.glob_path)
        if key in last and last[key].value != override.value:
            tell(f"{override.name} is given twice: {override.label} wins.")
        last.pop(key, None)
        last[key] = override
    return list(last.values())
