"""The text of a conversation on its way to tokens: who wrote it, and what it may become.

Marks are characters of a private-use area that stand nowhere in the conversation. A guard
puts one into each special token that a message contains, so that no encoder takes it for
the token; the generation tag puts others around what the assistant writes. They are taken
out again with their positions.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kauldron.lm.text import _errors

if TYPE_CHECKING:
    from kauldron.lm.text._tokenizer import Tokenizer

_PRIVATE_AREA = range(0xF0000, 0xFFFFE)


class Span(NamedTuple):
    """A part of a text, `text[start:end]`, and the role that wrote it."""

    role: str
    start: int
    end: int


class Marks(NamedTuple):
    """What the generation tag writes around its text."""

    begin: str
    end: str


class Marked(NamedTuple):
    """A text without generation marks, and the spans that they told."""

    text: str
    spans: list[Span]


class TextTokens(NamedTuple):
    """Tokens `i32[n]`, and which of them begin inside a span, `bool[n]`."""

    tokens: np.ndarray
    is_inside: np.ndarray


NO_MARKS = Marks("", "")


@dataclasses.dataclass(frozen=True)
class Guard:
    """Keeps texts of people from becoming special tokens.

    Attributes:
      mark: The character that goes into them; "" if there is nothing to guard.
      marks: Of the generation tag.
      special: Matches special tokens in texts of people.
      in_answers: Matches those that an answer may not contain.
    """

    mark: str
    marks: Marks
    special: re.Pattern[str] | None = None
    in_answers: re.Pattern[str] | None = None

    def wrap(self, value: Any, pattern: re.Pattern[str] | None = None) -> Any:
        """Returns messages or tools, the mark in each special token."""
        if self.special is None:
            return value
        pattern = pattern or self.special
        if isinstance(value, str):
            return pattern.sub(lambda m: m[0][0] + self.mark + m[0][1:], value)
        if isinstance(value, Mapping):
            if value.get("role") == "assistant":
                pattern = self.in_answers
            return {k: self.wrap(v, pattern) for k, v in value.items()}
        if isinstance(value, list | tuple | np.ndarray):
            return [self.wrap(item, pattern) for item in value]
        return value


NO_GUARD = Guard("", Marks(chr(_PRIVATE_AREA[0]), chr(_PRIVATE_AREA[1])))


def guard_for(tokenizer: Tokenizer, messages: Any, tools: Any) -> Guard:
    """Returns the guard of a conversation, with marks that stand nowhere in it."""
    text = "".join(_strings([messages, tools]))
    free = (chr(code) for code in _PRIVATE_AREA if chr(code) not in text)
    mark, marks = next(free), Marks(next(free), next(free))
    special = tokenizer.special_ids
    if not any(token in text for token in special):
        return Guard("", marks)
    # What decoding leaves in an answer, such as `<think>`, may come back in one.
    shown = {t for t, i in special.items() if tokenizer.decode([i])}
    return Guard(mark, marks, _any_of(special), _any_of(special.keys() - shown))


def _any_of(tokens: Any) -> re.Pattern[str]:
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple | np.ndarray):
        return []
    return [text for item in value for text in _strings(item)]


def plain(messages: Any, where: str) -> list[dict[str, Any]]:
    """Returns messages as plain dicts, without keys that are `None`.

    Raises:
      ChatTemplateError: If they are no messages.
    """
    if isinstance(messages, str | Mapping) or not hasattr(messages, "__len__"):
        raise _errors.ChatTemplateError(
            f"`{where}` is a list of messages: got a {type(messages).__name__}."
        )
    if not len(messages):
        raise _errors.ChatTemplateError(f"`{where}` is empty: there is no message.")
    found = []
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or "role" not in message:
            raise _errors.ChatTemplateError(
                f"A message is a dict with 'role' and 'content': `{where}[{index}]` is "
                f"{message!r}."
            )
        present = {k: v for k, v in message.items() if v is not None}
        found.append(plain_value(present, f"{where}[{index}]"))
    return found


def plain_value(value: Any, where: str) -> Any:
    """Returns a value made of what JSON knows: templates get nothing else.

    Raises:
      ChatTemplateError: If it is something else.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {str(k): plain_value(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray):
        return [plain_value(v, f"{where}[{i}]") for i, v in enumerate(value)]
    raise _errors.ChatTemplateError(
        f"`{where}` is a `{type(value).__name__}`; templates get texts, numbers, lists "
        "and dicts. Tools are JSON schemas, not functions."
    )


def read_marks(text: str, marks: Marks) -> Marked:
    """Takes the generation marks out of a text."""
    parts, spans, position, begin = [], [], 0, 0
    for part in re.split(f"([{marks.begin}{marks.end}])", text):
        if part == marks.begin:
            begin = position
        elif part == marks.end:
            spans.append(Span("assistant", begin, position))
        else:
            parts.append(part)
            position += len(part)
    return Marked("".join(parts), spans)


def by_prefixes(
    messages: Sequence[Mapping[str, Any]],
    roles: Sequence[str],
    render: Callable[[int, bool], str],
    end: str,
    first_message: int,
) -> Marked:
    """Finds what each message adds to the text of those before it.

    Args:
      messages: The conversation.
      roles: Whose spans are asked for.
      render: Number of messages, and whether the generation prompt follows, to text.
      end: What some templates write behind the last message, whatever it is.
      first_message: Those before it get no span.

    Raises:
      ChatTemplateError: If the text of some messages does not begin that of all.
    """
    text = render(len(messages), False)

    def length(count: int) -> int | None:
        part = render(count, False)
        for beginning in (part, part.removesuffix(end)):
            if text.startswith(beginning):
                return len(beginning)
        return None

    spans = []
    for index, message in enumerate(messages):
        role = message["role"]
        if role not in roles or index < first_message:
            continue
        before, after = length(index) if index else 0, length(index + 1)
        if index and role == "assistant" and before is not None:
            # The prompt may be longer than what stands before an answer: `<think>`.
            prompt = render(index, True)
            before = max(before, _num_common(text, prompt))
        if before is None or after is None or after < before:
            raise _errors.ChatTemplateError(
                f"It cannot be told which text message {index} ({role!r}) wrote: the "
                "template writes the messages before it otherwise when more follow. Put "
                "`{% generation %}` and `{% endgeneration %}` around what the assistant "
                "writes, in a copy of the template."
            )
        spans.append(Span(role, before, after))
    return Marked(text, spans)


def _num_common(a: str, b: str) -> int:
    """Returns how many letters two texts begin with alike."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def tokens_of(
    tokenizer: Tokenizer, text: str, spans: Sequence[Span], guard: Guard
) -> TextTokens:
    """Returns the tokens of a text in which special tokens are meant, but for guarded ones."""
    (found,) = tokenizer.encode_batch_with_offsets([text], allow_special=True)
    tokens, offsets = found
    is_inside = np.zeros(len(tokens), bool)
    # A token belongs to whom its last character belongs to: a space in front of an answer
    # may be one token with its first word.
    last = np.maximum(offsets[:, 1] - 1, offsets[:, 0])
    for span in spans:
        is_inside |= (last >= span.start) & (last < span.end)
    if guard.mark and guard.mark in text:
        positions = [i for i, letter in enumerate(text) if letter == guard.mark]
        is_mark = np.isin(offsets[:, 0], positions)
        if (offsets[is_mark, 1] - offsets[is_mark, 0] > 1).any():
            raise _errors.ChatTemplateError(
                "The tokenizer joins a mark with letters beside it, so that special tokens "
                "in messages cannot be kept apart from those of the template."
            )
        tokens, is_inside = tokens[~is_mark], is_inside[~is_mark]
    return TextTokens(tokens, is_inside)
