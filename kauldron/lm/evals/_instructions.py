"""Instructions that a program can check, as a table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kauldron._base import errors


def _words(text: str) -> list[str]:
    return re.findall(r"\b\w[\w'\u2019-]*", text)


def _sentences(text: str) -> list[str]:
    return [s for s in re.split(r"(?<=[.!?])\s+", text.strip()) if s]


def _paragraphs(text: str) -> list[str]:
    return [p for p in re.split(r"\n\s*\n", text) if p.strip()]


def _bullets(text: str) -> list[str]:
    return re.findall(r"^\s*(?:[*-]|\d+[.)])\s+\S", text, flags=re.MULTILINE)


def _has_word(text: str, word: str) -> bool:
    return (
        re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None
    )


def _is_json(text: str) -> bool:
    inside = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", text, re.DOTALL)
    try:
        json.loads(inside[1] if inside else text)
    except ValueError:
        return False
    return True


def _is_lowercase(text: str) -> bool:
    return text == text.lower()


def _is_uppercase(text: str) -> bool:
    return text == text.upper()


def _has_words(text: str, words: Sequence[str]) -> bool:
    return all(_has_word(text, word) for word in words)


def _lacks_words(text: str, words: Sequence[str]) -> bool:
    return not any(_has_word(text, word) for word in words)


# Kind -> name of what it takes (`None` for nothing), and the check.
INSTRUCTIONS: Mapping[str, tuple[str | None, Callable[..., bool]]] = {
    "min_words": ("number", lambda text, number: len(_words(text)) >= number),
    "max_words": ("number", lambda text, number: len(_words(text)) <= number),
    "min_sentences": ("number", lambda text, number: len(_sentences(text)) >= number),
    "max_sentences": ("number", lambda text, number: len(_sentences(text)) <= number),
    "num_paragraphs": ("number", lambda text, number: len(_paragraphs(text)) == number),
    "num_bullets": ("number", lambda text, number: len(_bullets(text)) == number),
    "has_words": ("words", _has_words),
    "lacks_words": ("words", _lacks_words),
    "starts_with": ("text", lambda text, start: text.lstrip().startswith(start)),
    "ends_with": ("text", lambda text, end: text.rstrip().endswith(end)),
    "no_commas": (None, lambda text: "," not in text),
    "lowercase": (None, _is_lowercase),
    "uppercase": (None, _is_uppercase),
    "json": (None, _is_json),
}


def is_followed(text: str, instruction: Mapping[str, Any]) -> bool:
    """Whether a text follows an instruction; an empty text follows none.

    Raises:
      ValueError: If the instruction is unknown, or has not what it takes.
    """
    kind = str(instruction.get("kind"))
    if kind not in INSTRUCTIONS:
        raise ValueError(
            f"There is no instruction {kind!r}.{errors.did_you_mean(kind, INSTRUCTIONS)}"
            f" Known are {sorted(INSTRUCTIONS)}."
        )
    argument, check = INSTRUCTIONS[kind]
    given = {name: value for name, value in instruction.items() if name != "kind"}
    if set(given) != ({argument} if argument else set()):
        wanted = f"`{argument}`" if argument else "nothing"
        raise ValueError(f"The instruction {kind!r} takes {wanted}: got {given}.")
    return bool(text.strip()) and check(text, *given.values())
