"""Overrides with wildcards: `evals.*.num_batches`, `**.dtype`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kauldron import errors, kontext
from kauldron.konfig import (
    _check,
    _config_dict,
    _errors,
    _nodes,
    _overrides,
    _proxy,
    _repr,
)

Parts = tuple[Any, ...]
_STAR = kontext.Wildcard.STAR
_DOUBLE_STAR = kontext.Wildcard.DOUBLE_STAR


def apply(
    cfg: Any,
    globs: list[_overrides.Override],
    explicit: set[Parts],
    tell: Callable[[str], None],
) -> list[Parts]:
    """Sets every match of every glob, except fields that are named in full.

    `*` stands for one level, and the field behind it is added where it is missing; `**`
    for any number of levels, and only fields that exist match.

    Returns:
      The paths that were set.

    Raises:
      ConfigError: If a glob matches nothing, or two globs that are equally specific set
        one field to different values.
    """
    set_by: dict[Parts, _overrides.Override] = {}
    changed: list[Parts] = []
    for override in sorted(globs, key=_specificity):
        matches = list(dict.fromkeys(_match(cfg, override.parts, (), ())))
        if not matches:
            raise _errors.ConfigKeyError(
                f"{override.label}: no field matches.{_hint(cfg, override)}"
            )
        chosen = [m for m in matches if m not in explicit]
        for parts in chosen:
            other = set_by.get(parts)
            if other is not None and _contradict(other, override):
                raise _conflict(other, override, parts)
            _overrides.set_one(cfg, override, parts)
            set_by[parts] = override
            changed.append(parts)
        names = ", ".join(_check.field_name(m) for m in chosen) or "nothing"
        kept = [_check.field_name(m) for m in matches if m in explicit]
        also = f" (set by flags of their own: {', '.join(kept)})" if kept else ""
        tell(f"{override.label} sets {names}{also}.")
    return changed


def _hint(cfg: Any, override: _overrides.Override) -> str:
    """Returns which field may have been meant."""
    wanted = override.parts[-1]
    names = {str(key) for node in _nodes.iter_nodes(cfg) for key in node}
    if str(wanted) not in names:
        near = errors.did_you_mean(str(wanted), sorted(names))
        return f" No node of the config sets {str(wanted)!r}.{near}"
    return f" {str(wanted)!r} is set elsewhere in the config only."


def _specificity(override: _overrides.Override) -> tuple[int, int, str]:
    """Sorts the vague before the specific, so that the specific wins."""
    parts = override.parts
    return (-parts.count(_DOUBLE_STAR), -parts.count(_STAR), override.path)


def _contradict(a: _overrides.Override, b: _overrides.Override) -> bool:
    same_rank = _specificity(a)[:2] == _specificity(b)[:2]
    return same_rank and bool(a.value != b.value)


def _conflict(
    a: _overrides.Override, b: _overrides.Override, parts: Parts
) -> _errors.ConfigError:
    name = _check.field_name(parts)
    return _errors.ConfigError(
        f"{a.label} and {b.label} both set `{name}`, to different values. "
        f"Say which is meant: --{name}=..."
    )


def _match(
    value: Any, pattern: Parts, path: Parts, above: tuple[int, ...]
) -> Iterator[Parts]:
    """Yields the paths below `value` that match."""
    if not pattern:
        yield path
        return
    value = _repr.peek(value)
    if id(value) in above:  # a cycle
        return
    above = (*above, id(value))
    head, rest = pattern[0], pattern[1:]
    if head is _DOUBLE_STAR:
        yield from _match(value, rest, path, above[:-1])
        for part, child in _children(value):
            yield from _match(child, pattern, (*path, part), above)
    elif head is _STAR:
        for part, child in _children(value):
            yield from _match_star(child, rest, (*path, part), above)
    else:
        for part, child in _children(value, with_special=True):
            if part == head:
                yield from _match(child, rest, (*path, part), above)


def _match_star(
    child: Any, rest: Parts, path: Parts, above: tuple[int, ...]
) -> Iterator[Parts]:
    """Behind `*`, a last field that is missing is added."""
    is_node = isinstance(_repr.peek(child), _config_dict.ConfigDict)
    if len(rest) == 1 and is_node and not isinstance(rest[0], kontext.Wildcard):
        yield (*path, rest[0])
    else:
        yield from _match(child, rest, path, above)


def _children(value: Any, *, with_special: bool = False) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, _config_dict.ConfigDict):
        for key, child in value._fields.items():
            if with_special or key not in (_proxy.QUALNAME, _proxy.CONST):
                yield key, child
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
