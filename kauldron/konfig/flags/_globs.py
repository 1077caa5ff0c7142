"""Wildcard overrides: `evals.*.num_batches`, `**.dtype`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kauldron import kontext
from kauldron._base import errors
from kauldron.konfig import _errors
from kauldron.konfig.flags import _override, _setter
from kauldron.konfig.tree import _config_dict, _field_names, _nodes, _walk

Parts = _override.Parts
_STAR = kontext.Wildcard.STAR
_DOUBLE_STAR = kontext.Wildcard.DOUBLE_STAR


def apply(
    cfg: Any,
    globs: list[_override.Override],
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
    set_by: dict[Parts, _override.Override] = {}
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
            _setter.set_one(cfg, override, parts)
            set_by[parts] = override
            changed.append(parts)
        names = ", ".join(_field_names.field_name(m) for m in chosen) or "nothing"
        kept = [_field_names.field_name(m) for m in matches if m in explicit]
        also = f" (set by flags of their own: {', '.join(kept)})" if kept else ""
        tell(f"{override.label} sets {names}{also}.")
    return changed


def _hint(cfg: Any, override: _override.Override) -> str:
    """Returns which part of the path is missing, and what may have been meant."""
    parts = override.parts
    num_found = 0
    found: list[Parts] = [()]
    for i in range(1, len(parts)):
        below = list(_match(cfg, parts[:i], (), (), is_adding=False))
        if not below:
            break
        num_found, found = i, below
    missing = parts[num_found]
    nodes = [_at(cfg, path) for path in found]
    is_glob = any(isinstance(part, kontext.Wildcard) for part in parts[:num_found])
    where = str(kontext.GlobPath(*parts[:num_found]))
    if isinstance(missing, kontext.Wildcard):
        return f" There is nothing below `cfg.{where}`."
    names = sorted({str(key) for node in nodes for key, _ in _walk.children(node)})
    near = errors.did_you_mean(str(missing), names)
    if parts[:num_found] and all(p is _DOUBLE_STAR for p in parts[:num_found]):
        return f" No node of the config sets {str(missing)!r}.{near}"
    if is_glob:
        return (
            f" Nothing that matches `cfg.{where}` has a field {str(missing)!r}.{near}"
        )
    of = _field_names.field_name(parts[:num_found])
    return f" `{of}` has no field {str(missing)!r}.{near}"


def _at(cfg: Any, path: Parts) -> Any:
    """Returns the value at a path that exists."""
    for part in path:
        cfg = _nodes.peek(dict(_walk.children(cfg, with_special=True))[part])
    return cfg


def _specificity(override: _override.Override) -> tuple[int, int, str]:
    """Sorts the vague before the specific, so that the specific wins."""
    parts = override.parts
    return (-parts.count(_DOUBLE_STAR), -parts.count(_STAR), override.path)


def _contradict(a: _override.Override, b: _override.Override) -> bool:
    same_rank = _specificity(a)[:2] == _specificity(b)[:2]
    return same_rank and bool(a.value != b.value)


def _conflict(
    a: _override.Override, b: _override.Override, parts: Parts
) -> _errors.ConfigError:
    name = _field_names.field_name(parts)
    return _errors.ConfigError(
        f"{a.label} and {b.label} both set `{name}`, to different values. "
        f"Say which is meant: --{name}=..."
    )


def _match(
    value: Any,
    pattern: Parts,
    path: Parts,
    above: tuple[int, ...],
    *,
    is_adding: bool = True,
) -> Iterator[Parts]:
    """Yields the paths below `value` that match.

    Args:
      value: Where the pattern begins.
      pattern: What is left of it.
      path: The way here.
      above: Ids of the nodes on the way, against cycles.
      is_adding: Whether a last field behind `*` matches where it is missing.
    """
    if not pattern:
        yield path
        return
    value = _nodes.peek(value)
    if id(value) in above:  # a cycle
        return
    above = (*above, id(value))
    head, rest = pattern[0], pattern[1:]
    if head is _DOUBLE_STAR:
        yield from _match(value, rest, path, above[:-1], is_adding=is_adding)
        for part, child in _walk.children(value):
            yield from _match(child, pattern, (*path, part), above, is_adding=is_adding)
    elif head is _STAR:
        for part, child in _walk.children(value):
            if is_adding and _can_add(child, rest):
                yield (*path, part, rest[0])
            else:
                yield from _match(
                    child, rest, (*path, part), above, is_adding=is_adding
                )
    else:
        for part, child in _walk.children(value, with_special=True):
            if part == head:
                yield from _match(
                    child, rest, (*path, part), above, is_adding=is_adding
                )


def _can_add(child: Any, rest: Parts) -> bool:
    """Returns whether, behind `*`, a last field that is missing is added to a node."""
    is_node = isinstance(_nodes.peek(child), _config_dict.ConfigDict)
    return is_node and len(rest) == 1 and not isinstance(rest[0], kontext.Wildcard)
