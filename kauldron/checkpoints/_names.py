"""Leaf names: path parts joined by dots, and which of them can be saved.

On disk, in exported files and in every rule and glob a leaf is one text, such as
`params.dense.kernel`. Keys may contain dots themselves as long as no two leaves end
up with the same name: `{"a.b": x, "a": {"b": y}}` would be one array on disk, and which
of the two would be a matter of chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax

from kauldron.checkpoints import _errors
from kauldron.ktyping import PyTree


def parts_of(path: tuple[Any, ...]) -> tuple[str, ...]:
    """Returns the parts of a leaf's path in a pytree, as text."""
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def name_of(path: tuple[Any, ...]) -> str:
    """Returns the name of a leaf from its path in a pytree."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def flatten_with_path(tree: PyTree) -> dict[str, tuple[Any, Any]]:
    """Returns `{name: (path, leaf)}` of a pytree.

    Raises:
      CheckpointError: If two leaves have the same name, or a dict has keys that cannot
        be put in order, such as `0` and `"0"`.
    """
    try:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
    except (TypeError, ValueError) as e:
        raise _mixed_keys(tree) or e from e
    found: dict[str, tuple[Any, Any]] = {}
    for path, leaf in leaves:
        name = name_of(path)
        if name in found:
            both = sorted(jax.tree_util.keystr(p) for p in (found[name][0], path))
            raise _errors.CheckpointError(
                f"Two arrays would both be called {name!r} in a checkpoint, so that one "
                f"overwrites the other: {both[0]} and {both[1]}. Rename one of the keys."
            )
        found[name] = path, leaf
    return found


def check_savable(tree: PyTree) -> None:
    """Finds names that cannot be written to disk.

    Raises:
      CheckpointError: As `flatten_with_path`; or if a key has characters that are no
        text.
    """
    for name, (path, _) in flatten_with_path(tree).items():
        try:
            name.encode()
        except UnicodeEncodeError as e:
            raise _errors.CheckpointError(
                f"The key of an array cannot be written as UTF-8, at "
                f"{jax.tree_util.keystr(path)!a}: {e.reason}. Rename it."
            ) from e


def check_json_keys(value: object, prefix: str = "") -> None:
    """Finds keys of a state that become the same text in JSON, such as `0` and `"0"`.

    Raises:
      CheckpointError: If there are any.
    """
    if isinstance(value, Mapping):
        seen: dict[str, Any] = {}
        for key in value:
            other = seen.setdefault(str(key), key)
            if other is not key:
                where = f" of {prefix}" if prefix else ""
                raise _errors.CheckpointError(
                    f"The keys {other!r} and {key!r}{where} are the same in JSON, so "
                    "that one value overwrites the other. Rename one of them."
                )
    for key, child in _children(value):
        check_json_keys(child, f"{prefix}[{key!r}]")


def _mixed_keys(tree: PyTree, prefix: str = "") -> _errors.CheckpointError | None:
    """Returns an error that names the dict whose keys cannot be put in order."""
    if isinstance(tree, Mapping):
        kinds = _kinds(tree)
        if len(kinds) > 1:
            keys = ", ".join(f"{key!r} ({kind})" for kind, key in kinds.items())
            return _errors.CheckpointError(
                f"A dict has keys of several types, at {prefix or 'the root'}: {keys}. "
                "Names on disk are texts: use texts as keys."
            )
    found = (_mixed_keys(child, f"{prefix}[{k!r}]") for k, child in _children(tree))
    return next((error for error in found if error is not None), None)


def _kinds(keys: Iterable[Any]) -> dict[str, Any]:
    """Returns `{type name: a key of it}`; numbers can be compared with each other."""
    kinds: dict[str, Any] = {}
    for key in keys:
        is_number = isinstance(key, bool | int | float)
        kinds.setdefault("number" if is_number else type(key).__name__, key)
    return kinds


def _children(value: object) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield field.name, getattr(value, field.name)
