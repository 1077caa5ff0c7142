"""Values of a config, by path, as they stand in `config.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(content: object) -> dict[str, bool | int | float | str]:
    """Returns the numbers, strings and flags of a config, by path.

    What is called or taken from a module stands at the path of its node, by name.

    Args:
      content: What `config.json` holds.
    """
    return dict(_leaves(content, ""))


def _leaves(node: object, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ("__qualname__", "__const__"):
                yield path or "cfg", str(value).rpartition(":")[2]
            elif key != "xm_job" and not key.startswith("__"):
                yield from _leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _leaves(value, f"{path}[{i}]")
    elif isinstance(node, bool | int | float | str):
        yield path, node
