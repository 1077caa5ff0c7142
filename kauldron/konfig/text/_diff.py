"""Differences between two configs."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

from kauldron.konfig.names import _qualname
from kauldron.konfig.tree import (
    _config_dict,
    _field_names,
    _nodes,
    _printer,
    _reference,
    _walk,
)

Path = _field_names.Path
_ABSENT = object()
_COLORS = {"+": "\x1b[32m", "-": "\x1b[31m", "~": "\x1b[33m"}
_HTML_COLORS = {"+": "green", "-": "firebrick", "~": "darkgoldenrod"}
_RESET = "\x1b[0m"


@dataclasses.dataclass(frozen=True)
class Change:
    """One difference between two configs.

    Attributes:
      field: The field, such as `cfg.optimizer.learning_rate`.
      kind: `+` added, `-` removed, `~` changed.
      before: The old value as text; empty if added.
      after: The new value as text; empty if removed.
    """

    field: str
    kind: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        if self.kind == "~" and "\n" not in self.before + self.after:
            return f"~ {self.field}: {self.before} -> {self.after}"
        if self.kind == "~":
            before = f"- {self.field}: {self.before}".replace("\n", "\n- ")
            after = f"+ {self.field}: {self.after}".replace("\n", "\n+ ")
            return f"{before}\n{after}"
        text = f"{self.kind} {self.field}: {self.before or self.after}"
        return text.replace("\n", f"\n{self.kind} ")


@dataclasses.dataclass(frozen=True)
class Diff:
    """The differences between two configs; false if there are none.

    Attributes:
      changes: In the order of the configs.
    """

    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def to_text(self, *, color: bool = False) -> str:
        """Returns a line or more per change, with terminal colours if asked."""
        if not self.changes:
            return "The configs are equal."
        lines = "\n".join(map(str, self.changes)).split("\n")
        if color:
            lines = [f"{_COLORS.get(ln[:1], '')}{ln}{_RESET}" for ln in lines]
        return "\n".join(lines)

    __str__ = to_text

    def _repr_html_(self) -> str:
        import html

        lines = [
            f'<span style="color:{_HTML_COLORS.get(line[:1], "inherit")}">'
            f"{html.escape(line)}</span>"
            for line in self.to_text().split("\n")
        ]
        return f"<pre>{'<br>'.join(lines)}</pre>"


def compare(old: Any, new: Any) -> Diff:
    """Returns what differs between two configs; see `konfig.diff`."""
    comparer = _Comparer(_first_paths(old), _first_paths(new))
    return Diff(tuple(comparer.compare(old, new, ())))


def _first_paths(cfg: Any) -> dict[int, Path]:
    """Returns id -> path, for shared nodes.

    Of the paths of a node, a shortest one counts; the order of fields does not.
    """
    numbers = _walk.find_shared(cfg)
    first: dict[int, Path] = {}
    pending: collections.deque[tuple[Any, Path]] = collections.deque([(cfg, ())])
    while pending:
        value, path = pending.popleft()
        value = _nodes.peek(value)
        if id(value) in numbers:
            if id(value) in first:
                continue
            first[id(value)] = path
        found = [*_walk.children(value)]
        if isinstance(value, _config_dict.ConfigDict):
            found = [(_field_names.part_of(value, key), child) for key, child in found]
            found.sort(key=lambda item: repr(item[0]))
        pending.extend((child, (*path, part)) for part, child in found)
    return first


class _Comparer:
    """Compares two configs, given where their shared nodes occur first."""

    def __init__(self, old_first: dict[int, Path], new_first: dict[int, Path]):
        self.old_first = old_first
        self.new_first = new_first

    def compare(self, old: Any, new: Any, path: Path) -> Iterator[Change]:
        old, new = _nodes.peek(old), _nodes.peek(new)
        if isinstance(old, _config_dict.ConfigDict) and isinstance(
            new, _config_dict.ConfigDict
        ):
            yield from self.compare_nodes(old, new, path)
        elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
            yield from self.compare_items(old, new, path)
        elif not nodes_equal(old, new):
            yield _change(path, old, new)

    def compare_nodes(self, old: Any, new: Any, path: Path) -> Iterator[Change]:
        old_at = self.old_first.get(id(old), path)
        new_at = self.new_first.get(id(new), path)
        if old_at != path and old_at == new_at:
            return  # compared where it occurs first
        if old_at != new_at:
            yield Change(
                _field_names.field_name(path),
                "~",
                _sharing(old_at, path),
                _sharing(new_at, path),
            )
            if old_at != path:  # do not list the same differences again, nor for ever
                return
        if _kind(old) != _kind(new):
            both = _qualname.QUALNAME in old and _qualname.QUALNAME in new
            if not both:
                yield _change(path, old, new)
                return
            names = [_qualname.shorten(n[_qualname.QUALNAME]) for n in (old, new)]
            yield Change(_field_names.field_name(path), "~", *names)
        keys = dict.fromkeys((*old._fields, *new._fields))
        for key in keys:
            if key in (_qualname.QUALNAME, _qualname.CONST):
                continue
            pair = (old._fields.get(key, _ABSENT), new._fields.get(key, _ABSENT))
            yield from self.compare_fields(
                *pair, (*path, _field_names.part_of(new, key))
            )

    def compare_fields(self, old: Any, new: Any, path: Path) -> Iterator[Change]:
        name = _field_names.field_name(path)
        if old is _ABSENT:
            yield Change(name, "+", after=_text(new))
        elif new is _ABSENT:
            yield Change(name, "-", before=_text(old))
        else:
            yield from self.compare(old, new, path)

    def compare_items(self, old: Any, new: Any, path: Path) -> Iterator[Change]:
        for i in range(max(len(old), len(new))):
            pair = (
                old[i] if i < len(old) else _ABSENT,
                new[i] if i < len(new) else _ABSENT,
            )
            yield from self.compare_fields(*pair, (*path, i))


def _kind(node: Any) -> tuple[Any, Any]:
    """Returns what a node calls, or names."""
    return node._fields.get(_qualname.QUALNAME), node._fields.get(_qualname.CONST)


def _sharing(first: Path, path: Path) -> str:
    if first == path:
        return "a node of its own"
    return f"the same node as {_field_names.field_name(first)}"


def nodes_equal(a: Any, b: Any) -> bool:
    """Compares by value; a path is equal to its text."""
    a, b = _path_as_text(a), _path_as_text(b)
    return _nodes.equal(a, b, set())


def _path_as_text(value: Any) -> Any:
    is_reference = isinstance(value, _reference.FieldReference)
    is_path = isinstance(value, os.PathLike) and not is_reference
    return os.fspath(value) if is_path else value


def _change(path: Path, old: Any, new: Any) -> Change:
    return Change(_field_names.field_name(path), "~", _text(old), _text(new))


def _text(value: Any) -> str:
    return _printer.to_text(value)
