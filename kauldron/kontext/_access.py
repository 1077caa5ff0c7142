"""Reading a value by its path."""

from __future__ import annotations

from typing import Any

from kauldron.kontext import _errors, _grammar, _nearest, _path, _tree

PathLike = str | _path.Path | tuple[Any, ...]

_get_part = _tree.get_part
_parse = _grammar.parse


def get_by_path(obj: Any, path: PathLike | None, default: Any = ...) -> Any:
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
        parts = _parse(path)
    elif path is None:
        return None if default is ... else default
    else:
        parts = to_parts(path)
    return get_parts(obj, parts, default=default)


def get_parts(
    obj: Any,
    parts: _grammar.Parts,
    *,
    default: Any = ...,
    with_structure: bool = False,
) -> Any:
    """`get_by_path` for a parsed path."""
    node = obj
    for i, part in enumerate(parts):
        try:
            node = _get_part(node, part)
        except _tree.MissingPart:
            refuse_wildcards(parts)
            if default is not ...:
                return default
            raise missing_error(obj, parts, i, node, with_structure) from None
    return node


def resolve_prefix(obj: Any, parts: _grammar.Parts) -> tuple[int, Any]:
    """Returns how many parts exist, and the value at the last that does."""
    for i, part in enumerate(parts):
        try:
            obj = _get_part(obj, part)
        except _tree.MissingPart:
            return i, obj
    return len(parts), obj


def missing_error(
    root: Any,
    parts: _grammar.Parts,
    num_resolved: int,
    parent: Any,
    with_structure: bool = False,
) -> _errors.KeyPathError:
    """Returns the error for a path of which only some parts exist."""
    problem = _errors.missing_problem(root, parts, num_resolved, parent)
    message = f"No such path: {problem}"
    if with_structure:
        message += f"\nAll paths:\n{_nearest.format_structure(root)}"
    return _errors.KeyPathError(message, [problem])


def refuse_wildcards(parts: _grammar.Parts) -> None:
    """Raises if a path that must name one value holds a wildcard."""
    if any(isinstance(part, _path.Wildcard) for part in parts):
        raise ValueError(
            f"{_grammar.format_parts(parts)!r} holds a wildcard, but one value is "
            "needed here. `kontext.filter_by_path` returns every match."
        )


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
