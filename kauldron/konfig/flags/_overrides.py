"""Overrides: `a.b[0]=value` applied to a config, typed and checked, in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kauldron.konfig.flags import _override


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
    plain, globs = _override.arrange(overrides, tell)
    if not plain and not globs:
        return
    # Showing a config needs neither of them.
    from kauldron.konfig.flags import _globs, _setter

    for override in plain:
        _setter.set_one(cfg, override, override.parts, tell)
    if not globs:
        return
    changed = _globs.apply(cfg, globs, {o.parts for o in plain}, tell)
    for override in plain:  # a glob may have replaced what they are in
        parts = override.parts
        if any(parts[: len(above)] == above for above in changed):
            _setter.set_one(cfg, override, parts, tell)
