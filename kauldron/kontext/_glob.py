"""Setting and filtering by glob path."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from kauldron._base import frozen_dict
from kauldron.kontext import _access, _errors, _grammar, _tree

_STAR = _grammar.Wildcard.STAR
_DOUBLE_STAR = _grammar.Wildcard.DOUBLE_STAR
Parts = _grammar.Parts


def set_parts(obj: object, parts: Parts, value: object) -> list[str]:
    """Sets the value at every match; see `kontext.set_by_path`."""
    text = _grammar.format_parts(parts)
    if not parts:
        raise ValueError("The empty path is the object itself, which cannot be set.")
    if isinstance(parts[-1], _grammar.Wildcard):
        raise ValueError(f"A path to set cannot end with a wildcard: got {text!r}.")
    targets: dict[str, tuple[Any, Parts]] = {}
    for container, at in _Matcher(obj, parts).containers():
        targets.setdefault(_grammar.format_parts(at), (container, at))
    found = [at for _, at in targets.values()]
    for name, (_, at) in list(targets.items()):
        if any(at[: len(other)] == other for other in found if len(other) < len(at)):
            del targets[name]  # it goes away with what is replaced above it
    for container, at in targets.values():
        _check_settable(container, at)
    for container, at in targets.values():
        _set_part(container, at[-1], value)
    return list(targets)


@dataclasses.dataclass(frozen=True)
class _Matcher:
    """Finds the containers that hold the last part of a path."""

    root: Any
    parts: Parts

    def containers(self) -> Iterator[tuple[Any, Parts]]:
        yield from self._match(self.root, (), self.parts, lenient=False, above=())

    def _match(
        self,
        node: object,
        at: Parts,
        rest: Parts,
        *,
        lenient: bool,
        above: tuple[int, ...],
    ) -> Iterator[tuple[Any, Parts]]:
        part, *tail = rest
        if part is _DOUBLE_STAR:
            yield from self._match_deep(node, at, tuple(tail), above=above)
        elif part is _STAR:
            kids = _tree.children(node)
            if kids is None:
                if not lenient:
                    raise _leaf_error(node, at, self.parts)
                return
            for key, child in kids:
                yield from self._match(
                    child, (*at, key), tuple(tail), lenient=lenient, above=above
                )
        elif not tail:
            if not lenient or _has_part(node, part):
                yield node, (*at, part)
        else:
            try:
                child = _tree.get_part(node, part)
            except _tree.MissingPart:
                if lenient:
                    return
                if _tree.children(node) is None:
                    raise _leaf_error(node, at, self.parts) from None
                raise _access.missing_error(
                    self.root, (*at, *rest), len(at), node
                ) from None
            yield from self._match(
                child, (*at, part), tuple(tail), lenient=lenient, above=above
            )

    def _match_deep(
        self, node: object, at: Parts, rest: Parts, *, above: tuple[int, ...]
    ) -> Iterator[tuple[Any, Parts]]:
        if id(node) in above:
            return  # a cycle
        yield from self._match(node, at, rest, lenient=True, above=())
        for key, child in _tree.children(node) or ():
            yield from self._match_deep(
                child, (*at, key), rest, above=(*above, id(node))
            )


def _has_part(node: object, part: object) -> bool:
    if _tree.children(node) is None:
        return False
    try:
        _tree.get_part(node, part)
    except _tree.MissingPart:
        return False
    return True


def _leaf_error(node: object, at: Parts, parts: Parts) -> _errors.SetPathError:
    where = repr(_grammar.format_parts(at)) if at else "The object"
    return _errors.SetPathError(
        f"Cannot set {_grammar.format_parts(parts)!r}: {where} is a leaf "
        f"({_short(node)} of type {type(node).__name__}), it has no keys."
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_FROZEN_ADVICE = {
    "tuple": "Use a list, or replace the whole tuple.",
    "mapping": "Replace the whole mapping.",
    "dataclass": "Replace the whole object, with `dataclasses.replace`.",
}


def _check_settable(container: Any, at: Parts) -> None:
    """Raises if `_set_part` would not work."""
    part = at[-1]
    if isinstance(container, MutableMapping):
        if not isinstance(container, frozen_dict.ImmutableDict):
            return
        advice = _FROZEN_ADVICE["mapping"]
    elif isinstance(container, list):
        if isinstance(part, slice):
            raise NotImplementedError("Setting a slice of a list is not supported.")
        if type(part) is int and -len(container) <= part < len(container):
            return
        raise _errors.KeyPathError(
            f"Cannot set {_grammar.format_parts(at)!r}: the list has "
            f"{len(container)} items, {part!r} is not the index of one."
        )
    elif isinstance(container, tuple):
        advice = _FROZEN_ADVICE["tuple"]
    elif isinstance(container, Mapping):
        advice = _FROZEN_ADVICE["mapping"]
    elif _tree.is_dataclass_instance(container):
        if not container.__dataclass_params__.frozen and hasattr(container, str(part)):
            return
        if not hasattr(container, str(part)):
            raise _access.missing_error(container, (part,), 0, container)
        advice = _FROZEN_ADVICE["dataclass"]
    else:
        raise _leaf_error(container, at[:-1], at)
    raise _errors.SetPathError(
        f"Cannot set {_grammar.format_parts(at)!r}: it is in an immutable "
        f"{type(container).__name__}. {advice}"
    )


def _set_part(container: Any, part: Any, value: Any) -> None:
    if isinstance(container, MutableMapping | list):
        container[part] = value
    else:
        setattr(container, part, value)


def filter_parts(obj: object, parts: Parts) -> Any:
    """Returns what matches of a tree; see `kontext.filter_by_path`."""
    if any(isinstance(part, slice) for part in parts):
        raise ValueError(
            f"A filter cannot slice: got {_grammar.format_parts(parts)!r}."
        )
    wildcards = [i for i, p in enumerate(parts) if isinstance(p, _grammar.Wildcard)]
    plain = parts[: wildcards[0]] if wildcards else parts
    num_resolved, node = _tree.read_prefix(obj, plain)
    if num_resolved < len(plain):
        raise _access.missing_error(obj, plain, num_resolved, node)
    return _Filter(()).apply(obj, frozenset([parts]))[1]


@dataclasses.dataclass(frozen=True)
class _Filter:
    """Follows all the paths that are still possible at once.

    Keeping the *set* of remaining paths, instead of trying one after the other, is
    what makes repeated names (`**.b.a` on nested `b`) come out right.
    """

    above: tuple[int, ...]

    def apply(self, node: object, pending: frozenset[Parts]) -> tuple[bool, Any]:
        """Returns whether anything matched, and the filtered node."""
        pending = _skip_double_stars(pending)
        if () in pending:
            return True, node
        kids = _tree.children(node)
        if kids is None or id(node) in self.above:
            return False, None
        below = _Filter((*self.above, id(node)))
        kept = []
        for i, (key, child) in enumerate(kids):
            names = {key, i - len(kids)} if isinstance(node, list | tuple) else {key}
            following = frozenset(
                rest
                for parts in pending
                for rest in _step(parts, names)  # what remains after `key`
            )
            found, value = below.apply(child, following)
            if found:
                kept.append((key, value))
        return bool(kept), _rebuild(node, kept)


def _skip_double_stars(pending: frozenset[Parts]) -> frozenset[Parts]:
    """Adds what remains if every leading `**` matches zero levels."""
    result = set(pending)
    for parts in pending:
        while parts and parts[0] is _DOUBLE_STAR:
            parts = parts[1:]
            result.add(parts)
    return frozenset(result)


def _step(parts: Parts, names: set[Any]) -> Iterator[Parts]:
    if parts and parts[0] is _DOUBLE_STAR:
        yield parts
    elif parts and (parts[0] is _STAR or parts[0] in names):
        yield parts[1:]


def _rebuild(node: object, kept: list[tuple[Any, Any]]) -> Any:
    if isinstance(node, list):
        return [value for _, value in kept]
    if isinstance(node, tuple) and not _tree.is_namedtuple(node):
        return tuple(value for _, value in kept)
    if isinstance(node, Mapping) and type(node) is not dict:
        make: Any = type(node)
        return make(dict(kept))
    return dict(kept)


def has_match(obj: object, parts: Parts) -> bool:
    """Returns whether anything in a tree matches a glob."""
    return _Filter(()).apply(obj, frozenset([parts]))[0]
