"""Reading, setting and filtering by path, in any form: text, parts, `Path`."""

from __future__ import annotations

from typing import Any

from kauldron.kontext import _access, _glob, _grammar, _path

PathLike = str | _path.Path | tuple[Any, ...]


def get_by_path(obj: object, path: PathLike | None, default: object = ...) -> Any:
    """Returns the value at a path.

    Every part is looked up as an item first, then as an attribute. Items of
    `jax.ShapeDtypeStruct` are those of the array it stands for.

    Args:
      obj: Where to look: any nesting of dicts, sequences, arrays, objects.
      path: Text such as `"batch.image"`, a tuple of parts, or a `Path`. `None` gives
        `None` (or the default).
      default: Returned when there is no such value. `...`: raise.

    Returns:
      The value.

    Raises:
      KeyPathError: A `KeyError`: there is no such value. The message says how far the
        path could be followed and names the nearest existing paths.
      TypeError: If `path` is not a path.

    Example:

    ```python
    from kauldron import kontext

    assert kontext.get_by_path({"a": {"items": [1, 2]}}, "a.items[-1]") == 2
    ```
    """
    if type(path) is str:
        parts = _grammar.parse(path)
    elif path is None:
        return None if default is ... else default
    else:
        parts = to_parts(path)
    return _access.get_parts(obj, parts, default=default)


def set_by_path(obj: object, path: PathLike, value: object) -> list[str]:
    """Sets the value at a path, in place.

    Intermediate keys must exist; the last one may be new (in dicts). `*` matches every
    key of one level, and all of them must accept the rest of the path; `**` matches any
    number of levels and skips what doesn't fit. Nothing is changed if an error is raised.

    Args:
      obj: A nesting of dicts (or `ConfigDict`), lists, dataclasses.
      path: Text, a tuple of parts, a `Path` or a `GlobPath`. In texts and tuples, `*`
        and `**` are wildcards.
      value: The same object is set at every match.

    Returns:
      The paths that were set, for instance `["a[0].b", "a[1].b"]`.

    Raises:
      KeyPathError: A `KeyError`: an intermediate key does not exist.
      SetPathError: A `TypeError` and `ValueError`: there is nothing to set it in, or
        what there is cannot be changed.
      ValueError: If the path is empty or ends with a wildcard.

    Example:

    ```python
    from kauldron import kontext

    tree = {"a": [{"b": 1}, {}]}
    assert kontext.set_by_path(tree, "a.*.b", 2) == ["a[0].b", "a[1].b"]
    assert tree == {"a": [{"b": 2}, {"b": 2}]}
    ```
    """
    return _glob.set_parts(obj, _glob_parts(path), value)


def filter_by_path(obj: object, path: PathLike) -> Any:
    """Returns the part of a tree that matches a glob, within its containers.

    A match keeps everything below it. List items that don't match are left out, so that
    indices shift; NamedTuples and dataclasses become dicts of what matched.

    Args:
      obj: A nesting of dicts, sequences, dataclasses.
      path: Such as `"params.**.bias"`; `""` and `"**"` return everything.

    Raises:
      KeyPathError: A `KeyError`: the parts before the first wildcard don't exist.

    Example:

    ```python
    from kauldron import kontext

    params = {"a": {"bias": 1, "kernel": 2}, "b": {"bias": 3}}
    assert kontext.filter_by_path(params, "*.bias") == {
        "a": {"bias": 1},
        "b": {"bias": 3},
    }
    ```
    """
    return _glob.filter_parts(obj, _glob_parts(path))


def to_parts(path: PathLike) -> _grammar.Parts:
    """Returns the parts of any form a path may be given in."""
    if isinstance(path, str):
        return _grammar.parse(str(path))
    if isinstance(path, tuple):
        return path
    if isinstance(path, _path.Path | _path.GlobPath):
        return path.parts
    if hasattr(path, "__kontext_path__"):
        return path.__kontext_path__().parts
    raise TypeError(
        f"A path is a str, a tuple of parts or a `kontext.Path`: got {path!r} of type "
        f"{type(path).__name__}."
    )


def _glob_parts(path: PathLike) -> _grammar.Parts:
    if isinstance(path, tuple):
        return _path.GlobPath(*path).parts
    return to_parts(path)
