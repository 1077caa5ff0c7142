"""Reading the value at the parts of a path."""

from __future__ import annotations

from typing import Any

from kauldron.kontext import _errors, _grammar, _nearest, _tree

_get_part = _tree.get_part


def get_parts(
    obj: object,
    parts: _grammar.Parts,
    *,
    default: object = ...,
    with_structure: bool = False,
) -> Any:
    """Returns the value at a path; see `kontext.get_by_path`."""
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


def missing_error(
    root: object,
    parts: _grammar.Parts,
    num_resolved: int,
    parent: object,
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
    if any(isinstance(part, _grammar.Wildcard) for part in parts):
        raise ValueError(
            f"{_grammar.format_parts(parts)!r} holds a wildcard, but one value is "
            "needed here. `kontext.filter_by_path` returns every match."
        )
