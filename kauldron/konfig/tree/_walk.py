"""Traversal of the nodes of a config, and the queries built on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ml_collections import config_dict

from kauldron.konfig.names import _qualname
from kauldron.konfig.tree import _nodes

ConfigDict = config_dict.ConfigDict


def _as_it_is(value: Any) -> Any:
    return value


def walk(
    value: Any, read: Callable[[Any], Any] = _as_it_is
) -> Iterator[tuple[Any, bool]]:
    """Yields every node at every place where it occurs, parents first.

    What is below a node is walked at its first place only, so that shared nodes cost once
    and cycles end.

    Args:
      value: A node, a list or tuple, or anything else, in which there is none.
      read: What to look at in place of a value; by default, references are not followed.

    Yields:
      A node, and whether it occurred before.
    """
    seen: dict[int, Any] = {}  # keeps computed nodes alive, so that ids stay unique
    pending = [value]
    while pending:
        value = read(pending.pop())
        if isinstance(value, ConfigDict):
            is_again = id(value) in seen
            yield value, is_again
            if not is_again:
                seen[id(value)] = value
                pending.extend(reversed(_nodes.fields_of(value).values()))
        elif isinstance(value, list | tuple):
            pending.extend(reversed(value))


def iter_nodes(value: Any, read: Callable[[Any], Any] = _as_it_is) -> Iterator[Any]:
    """Yields every config node in a value once, parents first; see `walk`."""
    return (node for node, is_again in walk(value, read) if not is_again)


def find_shared(value: Any, read: Callable[[Any], Any] = _nodes.peek) -> dict[int, int]:
    """Returns id of object -> number, for nodes that occur more than once.

    Numbered in the order in which the second occurrences are met.
    """
    numbers: dict[int, int] = {}
    for node, is_again in walk(value, read):
        if is_again:
            numbers.setdefault(id(node), len(numbers))
    return numbers


def children(value: Any, *, with_special: bool = False) -> Iterator[tuple[Any, Any]]:
    """Yields key and value, references kept, of what is directly in a node or list.

    Args:
      value: A node, a list or tuple; anything else has none.
      with_special: Whether the names of what a node calls or is are among them.
    """
    if isinstance(value, ConfigDict):
        for key, child in _nodes.fields_of(value).items():
            if with_special or key not in (_qualname.QUALNAME, _qualname.CONST):
                yield key, child
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
