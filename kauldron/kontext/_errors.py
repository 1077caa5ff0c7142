"""Exceptions of paths and keys, and their messages."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from kauldron._base import errors
from kauldron.kontext import _grammar, _nearest


@dataclasses.dataclass(frozen=True)
class KeyProblem:
    """One key that cannot be resolved.

    Attributes:
      field: The field as the user wrote it: `cfg.train_losses['recon'].preds`.
      path: The bad key.
      kind: `missing` (no such value), `required` (never set), `none` (the value is
        `None` here), `syntax` (not a path), `wildcard` (`*` where one value is needed),
        `failure` (the keys exist, but what they name does not fit; `path` is empty).
      resolved: How far the path could be followed; `""` if not at all.
      missing: The part after `resolved` that does not exist.
      found: What is at `resolved`, in words.
      nearest: The existing keys most like the bad one, best first.
      detail: What else there is to say.
    """

    field: str
    path: str
    kind: str = "missing"
    resolved: str = ""
    missing: str = ""
    found: str = ""
    nearest: tuple[_nearest.Suggestion, ...] = ()
    detail: str = ""

    def __str__(self) -> str:
        where = [self.field] if self.field else []
        if self.path or not where:
            where.append(repr(self.path))
        lines = [f"{' = '.join(where)}: {self.detail}"]
        if self.nearest:
            best, *others = self.nearest
            lines.append(f"  Did you mean {best}?")
            if others:
                lines.append(f"  Also near: {', '.join(map(str, others))}.")
        if self.found:
            lines.append(f"  {self.found}")
        return "\n".join(lines)


class KeyPathError(errors.UserError, KeyError):
    """A key or path that does not exist in the context.

    Attributes:
      problems: Every bad key, a `KeyProblem` each.
    """

    def __init__(self, message: str, problems: Sequence[KeyProblem] = ()):
        super().__init__(message)
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.problems)


class RequiredKeyError(errors.UserError, ValueError):
    """A required key was left unset, or a key is `None` where it cannot be."""


class KeySignatureError(errors.UserError, TypeError):
    """The keys of an object are not the arguments of the method that takes them."""


class SetPathError(errors.UserError, TypeError, ValueError):
    """A value that cannot be set: the container is immutable, or is not a container."""


def missing_problem(
    root: object,
    parts: _grammar.Parts,
    num_resolved: int,
    parent: object,
    *,
    field: str = "",
) -> KeyProblem:
    """Describes a path of which only the first `num_resolved` parts exist.

    Args:
      root: The context.
      parts: The path.
      num_resolved: How many parts exist.
      parent: The value at those parts.
      field: The field that holds the path.
    """
    resolved = _grammar.format_parts(parts[:num_resolved])
    missing = _grammar.format_parts((parts[num_resolved],))
    name = repr(resolved) if resolved else f"the {type(root).__name__}"
    if parent is None:
        detail = f"{name} is None here, so it has no {missing!r}."
    elif resolved:
        detail = f"{name} exists, but has no {missing!r}."
    else:
        detail = f"there is no {missing!r}."
    names = _nearest.list_parts(parent)
    if parent is None:
        found = ""
    elif names:
        found = f"{name[0].upper()}{name[1:]} has: {names}."
    else:
        found = f"{name[0].upper()}{name[1:]} is {_nearest.describe(parent)}."
    return KeyProblem(
        field=field,
        path=_grammar.format_parts(parts),
        resolved=resolved,
        missing=missing,
        found=found,
        nearest=_nearest.nearest_paths(root, parts, num_resolved=num_resolved),
        detail=detail,
    )
