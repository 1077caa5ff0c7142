"""Nearest-key suggestions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from kauldron._base import errors
from kauldron.kontext import _grammar, _tree

_MAX_COMPARED = 60


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """An existing key that looks like a missing one.

    Attributes:
      path: The key, such as `batch.image`.
      spec: Its dtype and shape, such as `f32[32 28 28 1]`; empty for containers.
    """

    path: str
    spec: str = ""

    def __str__(self) -> str:
        return f"{self.path!r} ({self.spec})" if self.spec else repr(self.path)


def nearest_paths(
    root: object, missing: _grammar.Parts | str, *, n: int = 3, num_resolved: int = 0
) -> tuple[Suggestion, ...]:
    """Returns the existing paths below `root` most like the missing one, best first.

    Args:
      root: Any tree of dicts, sequences, dataclasses.
      missing: The path that does not exist, or text that is not a path.
      n: How many at most.
      num_resolved: How many parts of `missing` do exist.
    """
    if isinstance(missing, str):
        words: Sequence[str] = missing.replace("/", ".").split(".")
    else:
        words = [_word(part) for part in missing]
    # The container in which nothing of this name was found is not what was meant.
    followed = list(words[:num_resolved])
    nodes = [
        (parts, value)
        for parts, value in _tree.walk(root)
        if value is not None
        and ([_word(p) for p in parts] != followed or format_spec(value))
    ]
    wanted = _bigrams(words)
    rough = sorted(
        (
            (_overlap(wanted, candidate := [_word(p) for p in parts]), i, candidate)
            for i, (parts, _) in enumerate(nodes)
        ),
        key=lambda scored: (-scored[0], scored[1]),
    )
    ranked = sorted(
        (
            (-_similarity(words, candidate, num_resolved), i)
            for _, i, candidate in rough[:_MAX_COMPARED]
        )
    )
    return tuple(
        Suggestion(_grammar.format_parts(nodes[i][0]), format_spec(nodes[i][1]))
        for score, i in ranked[:n]
        if score < -0.45
    )


def _word(part: object) -> str:
    return part if isinstance(part, str) else repr(part)


def _bigrams(words: Sequence[str]) -> set[str]:
    return {
        text[i : i + 2]
        for text in (f"^{word.casefold()}$" for word in words)
        for i in range(len(text) - 1)
    }


def _overlap(wanted: set[str], candidate: Sequence[str]) -> float:
    grams = _bigrams(candidate)
    return len(wanted & grams) / (len(wanted) + len(grams))


def _similarity(words: Sequence[str], candidate: Sequence[str], resolved: int) -> float:
    """1 for equal paths, towards 0 for unrelated ones."""
    score = _text_similarity(".".join(words), ".".join(candidate))
    if len(words) != len(candidate):
        # A part too few or too many: `image` for `batch.image`, `preds.batch.image`.
        depth = min(len(words), len(candidate))
        tail = _text_similarity(".".join(words[-depth:]), ".".join(candidate[-depth:]))
        score = max(score, tail * (0.9 if len(words) < len(candidate) else 0.85))
    same_parent = list(words[:resolved]) == list(candidate[:resolved])
    if resolved and same_parent and len(words) == len(candidate):
        # What resolved was meant: compare the rest alone as well.
        rest = _text_similarity(
            ".".join(words[resolved:]), ".".join(candidate[resolved:])
        )
        score = max(score, rest)
    score = max(score, 0.8 * _token_overlap(words, candidate))
    # The same name elsewhere (`batch.label` for `preds.label`) beats another name here.
    return score + 0.15 * (words[-1:] == candidate[-1:])


def _token_overlap(words: Sequence[str], candidate: Sequence[str]) -> float:
    """The share of equal words: finds `loss_total` for `total_loss` and `loss`."""
    a = set(re.split(r"[_\W]+", ".".join(words).casefold()))
    b = set(re.split(r"[_\W]+", ".".join(candidate).casefold()))
    return 2 * len(a & b) / (len(a) + len(b))


def _text_similarity(a: str, b: str) -> float:
    a, b = a.casefold(), b.casefold()
    longest = max(len(a), len(b))
    return 1 - errors.edit_distance(a, b) / longest if longest else 1.0


_DTYPE_PREFIXES = (
    ("bfloat", "bf"),
    ("float", "f"),
    ("uint", "u"),
    ("int", "i"),
    ("complex", "c"),
)


def format_dtype(dtype: object) -> str:
    """Returns the short name of a dtype: `f32`, `bf16`, `u8`, `bool`."""
    name = str(getattr(dtype, "name", dtype))
    for long, short in _DTYPE_PREFIXES:
        if name.startswith(long):
            return short + name[len(long) :]
    return name


def format_spec(value: object) -> str:
    """Returns dtype and shape as `f32[32 28 28 1]`, or `""` if `value` has none."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if not isinstance(shape, tuple) or dtype is None:
        return ""
    return f"{format_dtype(dtype)}[{' '.join(map(str, shape))}]"


def describe(value: object) -> str:
    """Returns a few words on what a value is, for messages."""
    if value is None:
        return "None"
    if spec := format_spec(value):
        return spec
    if (kids := _tree.children(value)) is not None and not kids:
        return f"an empty {type(value).__name__}"
    return f"a {type(value).__name__}"


def list_parts(value: object, *, limit: int = 12) -> str:
    """Returns the names below a value that is set, comma separated, cut after `limit`."""
    kids = _tree.children(value) or []
    names = [
        _grammar.format_parts((part,)) for part, child in kids if child is not None
    ]
    more = f", … ({len(names)} in all)" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def format_structure(root: object, *, limit: int = 200) -> str:
    """Returns one line per leaf: its path and what it is."""
    leaves = [
        f"  {_grammar.format_parts(parts)}: {describe(value)}"
        for parts, value in _tree.walk(root)
        if not _tree.children(value)
    ]
    more = [f"  … ({len(leaves)} in all)"] if len(leaves) > limit else []
    return "\n".join(leaves[:limit] + more)
