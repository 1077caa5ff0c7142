"""Values of a config, by path, as they stand in `config.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Marks a node that is used in several places; alone, it refers to that node.
_ID = "__id__"


def leaves(content: object) -> dict[str, bool | int | float | str]:
    """Returns the numbers, strings and flags of a config, by path.

    What is called or taken from a module stands at the path of its node, by name; a node
    that is used in several places, at each of them.

    Args:
      content: What `config.json` holds.
    """
    shared: dict[int, Mapping[str, Any]] = {}
    _find_shared(content, shared)
    return dict(_leaves(content, "", shared, ()))


def _find_shared(node: object, found: dict[int, Mapping[str, Any]]) -> None:
    """Collects the nodes that others refer to by their `__id__`."""
    if isinstance(node, Mapping):
        if _ID in node and len(node) > 1:
            found[node[_ID]] = node
        for value in node.values():
            _find_shared(value, found)
    elif isinstance(node, list):
        for value in node:
            _find_shared(value, found)


def _leaves(
    node: object, path: str, shared: Mapping[int, Any], inside: tuple[int, ...]
) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        number = node.get(_ID)
        if number in inside:  # of a config that holds itself
            return
        if number is not None:
            inside = (*inside, number)
        fields = node if number is None else shared.get(number, node)
        for key, value in fields.items():
            if key in ("__qualname__", "__const__"):
                yield path or "cfg", str(value).rpartition(":")[2]
            elif key != "xm_job" and not key.startswith("__"):
                below = f"{path}.{key}" if path else key
                yield from _leaves(value, below, shared, inside)
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _leaves(value, f"{path}[{i}]", shared, inside)
    elif isinstance(node, bool | int | float | str):
        yield path, node
