"""Transforms from texts and conversations to tokens: `Tokenize`, `ChatToTokens`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kauldron import data
from kauldron.lm.text import _chat_template, _tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokenize(data.MapTransform):
    """Replaces the text of an element by `tokens`, `i32[n]`.

    Nothing is cut off. What a text says is never a special token.

    Attributes:
      tokenizer: Of the model.
      key: Where the text is; it is taken out of the element.
      add_bos: Whether `bos` stands in front.
      add_eos: Whether `eos` stands behind, so that the model learns where texts end.

    Raises:
      DataKeyError: If there is no such key.
      TokenizerError: If the tokenizer lacks a token that is to be added.
    """

    tokenizer: _tokenizer.Tokenizer
    key: str = "text"
    add_bos: bool = False
    add_eos: bool = True

    def __post_init__(self) -> None:
        for is_added, role in ((self.add_bos, "bos"), (self.add_eos, "eos")):
            if is_added:
                self.tokenizer.required_id(role)

    def map(self, features: Mapping[str, Any]) -> Any:
        columns = {key: [value] for key, value in features.items()}
        return {key: value[0] for key, value in self.map_columns(columns, 1).items()}

    def map_columns(self, columns: dict[str, Any], num_rows: int) -> dict[str, Any]:
        """Tokenizes the texts of a column together, which is faster than one by one."""
        del num_rows
        rest = dict(columns)
        texts = take_key(rest, self.key, "Tokenize")
        tokens = self.tokenizer.encode_batch(
            list(texts), add_bos=self.add_bos, add_eos=self.add_eos
        )
        return {**rest, "tokens": tokens}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfChats(data.MapTransform):
    """Base of transforms that write conversations with a chat template.

    Attributes:
      tokenizer: Of the model.
      template: The tokenizer's own unless given.
    """

    tokenizer: _tokenizer.Tokenizer
    template: _chat_template.ChatTemplate | None = None

    @functools.cached_property
    def _template(self) -> _chat_template.ChatTemplate:
        template = self.template or _chat_template.ChatTemplate.of(self.tokenizer)
        has_date = template.date is not None or "date_string" in template.variables
        if "strftime_now" in template.text and not has_date:
            raise data.DataError(
                f"{type(self).__name__}: the chat template writes today's date, so that the "
                "data of a run would change from day to day. Give `template="
                "kd.lm.ChatTemplate.of(tokenizer, date='2026-11-30')`."
            )
        return template


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatToTokens(OfChats):
    """Replaces a conversation by `tokens`, `i32[n]`, and `loss_mask`, `bool[n]`.

    The mask is true for tokens that some roles wrote, with the mark that ends their turn:
    those are learnt. What a message says is never a special token of the template.

    Attributes:
      tokenizer: Of the model.
      template: The tokenizer's own unless given.
      key: Where the messages are; it is taken out of the element.
      tools_key: Where JSON schemas of tools are, if there are any; taken out too.
      roles: Whose messages are learnt.
      must_learn: Whether a conversation of which nothing is to be learnt is an error.

    Raises:
      DataError: If nothing of a conversation is to be learnt, though `must_learn`, or the
        template writes today's date.
      ChatTemplateError: If the template refuses a conversation.
    """

    key: str = "messages"
    tools_key: str | None = None
    roles: Sequence[str] = ("assistant",)
    must_learn: bool = True

    def map(self, features: Mapping[str, Any]) -> Any:
        rest = dict(features)
        messages = take_key(rest, self.key, "ChatToTokens")
        tools = (
            take_key(rest, self.tools_key, "ChatToTokens") if self.tools_key else None
        )
        tokens, is_trained = self._template.encode_with_roles(
            self.tokenizer, messages, tools=tools, roles=self.roles
        )
        if self.must_learn and not is_trained.any():
            seen = sorted({message["role"] for message in messages})
            raise data.DataError(
                f"ChatToTokens: nothing of this conversation is to be learnt: `roles` is "
                f"{list(self.roles)}, its messages are of {seen}. Filter such "
                "conversations out."
            )
        return {**rest, "tokens": tokens, "loss_mask": is_trained}


def take_key(element: dict[str, Any], key: str, owner: str) -> Any:
    """Takes a value out of an element.

    Raises:
      DataKeyError: If there is none.
    """
    if key not in element:
        raise data.DataKeyError(
            f"{owner}: the elements have no key {key!r}. They have {sorted(element)}."
        )
    return element.pop(key)


def messages_of(value: Any, role: str) -> list[Any]:
    """Returns a text as a message, or messages as they are."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
