"""Texts and conversations as requests, and what is told of texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kauldron import lm
from kauldron._base import errors
from kauldron.serve.requests import Request, RequestError, SamplingParams, TokenLogprob

Messages = Sequence[Mapping[str, Any]]


def of_text(tokenizer: lm.Tokenizer, text: str) -> tuple[int, ...]:
    """Returns the tokens of a text."""
    has_bos = tokenizer.special.adds_bos
    return tuple(tokenizer.encode(text, add_bos=has_bos).tolist())


def of_messages(
    tokenizer: lm.Tokenizer,
    template: lm.ChatTemplate | None,
    messages: Messages,
    tools: Sequence[Any] | None = None,
) -> tuple[int, ...]:
    """Returns the tokens of a conversation that the model shall answer.

    Raises:
      ChatTemplateError: If there is no chat template, or it refuses.
    """
    writes = lm.ChatTemplate.of(tokenizer) if template is None else template
    tokens = writes.encode(tokenizer, messages, tools=tools, add_generation_prompt=True)
    return tuple(tokens.tolist())


def request(tokens: Sequence[int], fields: Mapping[str, Any]) -> Request:
    """Returns a request.

    Args:
      tokens: Of the prompt.
      fields: Of `SamplingParams`.

    Raises:
      RequestError: If there is no such field.
    """
    names = [field.name for field in dataclasses.fields(SamplingParams)]
    for name in fields:
        if name not in names:
            raise RequestError(
                f"There is no `{name}` in `SamplingParams`."
                f"{errors.did_you_mean(name, names)}",
                param=name,
            )
    values = dict(fields)
    if isinstance(values.get("stop"), str):
        values["stop"] = (values["stop"],)
    for name in ("stop", "stop_token_ids"):
        if name in values:
            values[name] = tuple(values[name])
    return Request(prompt=tuple(tokens), sampling=SamplingParams(**values))


def text_score(
    tokenizer: lm.Tokenizer,
    text: str,
    tokens: Sequence[int],
    found: Sequence[TokenLogprob],
) -> lm.TextScore:
    """Returns how likely a text is, of the log-probabilities of all tokens but one."""
    first = tokenizer.decode(tokens[:1])
    num_bytes = len(text.encode()) - len(first.encode())
    return lm.TextScore(len(found), num_bytes, -sum(x.logprob for x in found))
