"""Transforms for preferences and generation: `PreferencePair`, `Prompt`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kauldron import data
from kauldron.lm.corpus import _lengths, _rows, _texts

_SIDES = ("left", "right")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreferencePair(_texts.OfChats):
    """Makes `chosen` and `rejected`, two rows, of a prompt and two answers.

    Each row has the keys that `Pack` gives, `[length]`; only the answer is learnt. A
    prompt is a text or messages, an answer too. Without a prompt, the answers are whole
    conversations, and the messages that both begin with are the prompt. Other keys are
    dropped.

    Attributes:
      tokenizer: Of the model.
      template: The tokenizer's own unless given.
      length: Tokens of a row.
      prompt_key: Where the prompt is; elements may lack it.
      chosen_key: Where the better answer is.
      rejected_key: Where the other one is.
      too_long: `'error'`, or which part is kept, `'keep_start'` or `'keep_end'`: what is
        cut off is told, and counted in `num_truncated` of the rows.

    Raises:
      DataError: If a conversation is too long and that is an error, or the answers are
        the same.
    """

    length: int
    prompt_key: str = "prompt"
    chosen_key: str = "chosen"
    rejected_key: str = "rejected"
    too_long: str = "error"

    def __post_init__(self) -> None:
        _rows.check_length("PreferencePair", "length", self.length)
        allowed = [name for name in _lengths.TOO_LONG if name != "split"]
        _lengths.check_choice("PreferencePair", "too_long", self.too_long, allowed)

    def map(self, features: Mapping[str, Any]) -> Any:
        rest = dict(features)
        answers = [
            _texts.messages_of(
                _texts.take_key(rest, key, "PreferencePair"), "assistant"
            )
            for key in (self.chosen_key, self.rejected_key)
        ]
        if self.prompt_key in rest:
            prompt = _texts.messages_of(rest[self.prompt_key], "user")
            answers = [[*prompt, *answer] for answer in answers]
            num_shared = len(prompt)
        else:
            num_shared = _num_shared(*answers)
        if answers[0] == answers[1]:
            raise data.DataError("PreferencePair: both answers are the same.")
        chosen, rejected = (self._row(answer, num_shared) for answer in answers)
        return {"chosen": chosen, "rejected": rejected}

    def _row(self, messages: Sequence[Any], num_shared: int) -> dict[str, np.ndarray]:
        tokens, is_trained = self._template.encode_with_roles(
            self.tokenizer, messages, first_message=num_shared
        )
        one = _rows.document(tokens, is_trained)
        cut = _lengths.cut_off([one], self.length, self.too_long, "PreferencePair")
        row = _rows.row_of(cut.documents, self.length)
        if self.too_long != "error":
            cut.count_in([row], [[0]])
        return row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt(_texts.OfChats):
    """Makes the beginning of an answer, for models to go on with.

    Gives `tokens`, `positions` and `segment_ids` (1, or 0 for padding), `i32[length]`;
    other keys stay, such as the answer that is expected.

    Attributes:
      tokenizer: Of the model.
      template: The tokenizer's own unless given. Without either, a prompt is a text that
        is continued.
      length: Tokens of a row.
      key: Where the prompt is, a text or messages; it is taken out of the element.
      tools_key: Where JSON schemas of tools are, if there are any; taken out too.
      pad: On which side padding is, `'left'` or `'right'`.
      too_long: `'error'`, or `'keep_end'`, which is told and counted in `num_truncated`.

    Raises:
      DataError: If a prompt is too long and that is an error.
    """

    length: int
    key: str = "prompt"
    tools_key: str | None = None
    pad: str = "right"
    too_long: str = "error"

    def __post_init__(self) -> None:
        _rows.check_length("Prompt", "length", self.length)
        _lengths.check_choice("Prompt", "pad", self.pad, _SIDES)
        _lengths.check_choice(
            "Prompt", "too_long", self.too_long, ["error", "keep_end"]
        )

    def map(self, features: Mapping[str, Any]) -> Any:
        rest = dict(features)
        prompt = _texts.take_key(rest, self.key, "Prompt")
        tools = (
            _texts.take_key(rest, self.tools_key, "Prompt") if self.tools_key else None
        )
        tokens = self._tokens(prompt, tools)
        one = _rows.document(tokens, np.ones(len(tokens)))
        cut = _lengths.cut_off([one], self.length, self.too_long, "Prompt")
        row = _rows.row_of(cut.documents, self.length)
        if self.pad == "left":
            num_padding = int((row["segment_ids"] == 0).sum())
            row = {key: np.roll(value, num_padding) for key, value in row.items()}
        if self.too_long != "error":
            cut.count_in([row], [[0]])
        dropped = ("targets", "loss_mask")
        return rest | {key: value for key, value in row.items() if key not in dropped}

    def _tokens(self, prompt: Any, tools: Any) -> np.ndarray:
        has_template = self.template or self.tokenizer.chat_template
        if isinstance(prompt, str) and not has_template:
            adds_bos = self.tokenizer.special.adds_bos
            return self.tokenizer.encode(prompt, add_bos=adds_bos)
        return self._template.encode(
            self.tokenizer,
            _texts.messages_of(prompt, "user"),
            tools=tools,
            add_generation_prompt=True,
        )


def _num_shared(a: Sequence[Any], b: Sequence[Any]) -> int:
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))
