"""Path mapping between runs: which checkpoint leaf goes to which leaf of the state.

Both sides are written with dots (`params.encoder`, `opt_state[0].mu`) and name a leaf or
a subtree. `*` stands for any text inside one part, `**` for any number of parts, and what
they match on the left is inserted on the right, in order. A left side that begins with
`re:` is a regular expression for whole paths; its right side may refer to groups (`\\1`).
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping

from kauldron.checkpoints import _errors

_REGEX = "re:"
_ANY_PARTS = r"((?:[^.]*\.)*)"  # a part may be empty
_WILDCARD = re.compile(r"\*\*|\*")


@dataclasses.dataclass(frozen=True)
class Rule:
    """Where the leaves under one path come from.

    Attributes:
      new: Path, glob or `re:...` in the state.
      old: Path, glob or template in the checkpoint.
    """

    new: str
    old: str

    def __post_init__(self) -> None:
        if self.is_regex:
            _ = self._regex
            return
        num_new, num_old = (len(_WILDCARD.findall(x)) for x in (self.new, self.old))
        if num_new != num_old:
            raise _errors.CheckpointError(
                f"`new_to_old`: {self.new!r} has {num_new} wildcards and {self.old!r} "
                f"has {num_old}: each one on the right takes what the one on the left "
                "stands for."
            )

    @property
    def is_regex(self) -> bool:
        return self.new.startswith(_REGEX)

    @functools.cached_property
    def _regex(self) -> re.Pattern[str]:
        pattern = self.new.removeprefix(_REGEX)
        try:
            return re.compile(pattern if self.is_regex else _glob_regex(pattern))
        except re.error as e:
            raise _errors.CheckpointError(
                f"`new_to_old`: {self.new!r} is no regular expression: {e}."
            ) from e

    @property
    def root(self) -> str | None:
        """First part of the left side, `None` if it can be anything."""
        first = re.split(r"[.\\]", normalize(self.new.removeprefix(_REGEX)))[0]
        return first if first.isidentifier() else None

    def old_path(self, path: str) -> str | None:
        """Returns where a leaf of the state comes from, `None` if not from here."""
        if self.is_regex:
            match = self._regex.fullmatch(path)
            try:
                return match and match.expand(normalize(self.old))
            except (re.error, IndexError) as e:
                raise _errors.CheckpointError(
                    f"`new_to_old`: {self.old!r} refers to a group that {self.new!r} "
                    f"does not have: {e}."
                ) from e
        match = self._regex.fullmatch(f"{path}.")
        if match is None:
            return None
        *groups, tail = match.groups()
        values = iter(groups)
        pieces = []
        for part in normalize(self.old).split("."):
            if part == "**":
                pieces.append(next(values))  # ends with a dot already
            else:
                pieces.append(_WILDCARD.sub(lambda _: next(values), part) + ".")
        return ("".join(pieces) + tail).removesuffix(".")

    def claims(self, old: str) -> bool:
        """Whether a leaf of the checkpoint is under the right side."""
        if self.is_regex:
            return False
        return re.fullmatch(_glob_regex(self.old), f"{old}.") is not None


def make_rules(new_to_old: Mapping[str, str]) -> list[Rule]:
    """Returns the rules of a mapping.

    Raises:
      CheckpointError: If there is none, or one cannot be understood.
    """
    if not new_to_old:
        raise _errors.CheckpointError(
            "`new_to_old` is empty, so nothing would be loaded: name subtrees, such as "
            "{'params': 'params'}."
        )
    return [Rule(new, old) for new, old in new_to_old.items()]


def old_path(rules: Iterable[Rule], path: str) -> str | None:
    """Returns where a leaf comes from: the last matching rule decides."""
    sources = [rule.old_path(path) for rule in rules]
    return next((s for s in reversed(sources) if s is not None), None)


def matches(globs: Iterable[str], path: str) -> bool:
    """Whether a glob matches a path, any part of it, or a subtree it is in."""
    return any(_anywhere(glob).fullmatch(f"{path}.") for glob in globs)


@functools.cache
def _anywhere(glob: str) -> re.Pattern[str]:
    return re.compile(rf"(?:[^.]*\.)*{_glob_regex(glob)}")


def normalize(path: str) -> str:
    """Returns `a[0]['b']` as `a.0.b`."""
    return re.sub(r"\[['\"]?([^]'\"]*)['\"]?\]", r".\1", path).removeprefix(".")


def _glob_regex(glob: str) -> str:
    """Regular expression for `"<path>."`; its last group is what is below the glob."""
    regex = ""
    for part in normalize(glob).split("."):
        if part == "**":
            regex += _ANY_PARTS
        else:
            literal = [re.escape(piece) for piece in part.split("*")]
            regex += "([^.]*)".join(literal) + r"\."
    return regex + _ANY_PARTS
