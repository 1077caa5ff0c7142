"""`TextGenerator`: texts and conversations in, text out, at once or piece by piece."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kauldron import modules as nn
from kauldron.ktyping import PyTree
from kauldron.lm.generation import _generate, _sampling
from kauldron.lm.text import _chat_template
from kauldron.lm.text._tokenizer import Tokenizer

# A text to go on with, or messages to answer.
Prompt = str | Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextGenerator:
    """A model that writes text.

    A prompt is a text, which the model goes on with, or a conversation, which it answers:
    a list of messages with `role` and `content`, written by the model's chat template.

    Attributes:
      model: The decoder.
      params: Its parameters.
      tokenizer: Of the model.
      context_length: The most tokens of a row; `None` is no bound.
      stop_ids: Tokens that end a text, besides those of the tokenizer.

    Raises:
      TokenizerError: If the tokenizer has more tokens than the model.
    """

    model: nn.CausalLM
    params: PyTree = dataclasses.field(repr=False)
    tokenizer: Tokenizer
    context_length: int | None = None
    stop_ids: Sequence[int] = ()

    def __post_init__(self) -> None:
        self.tokenizer.check_vocabulary(self.model.vocab_size, "The model")

    @property
    def is_for_chat(self) -> bool:
        """Whether the model has a chat template."""
        return self.tokenizer.chat_template is not None

    def __call__(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int = 128,
        sampling: _sampling.Sampling = _sampling.Sampling(),
        seeds: int | Sequence[int] = 0,
    ) -> list[str]:
        """Returns what the model writes after each prompt; see `generate`.

        Raises:
          PromptError: If a prompt has no token, or no room in the context.
          ChatTemplateError: If a conversation has no template, or is refused by it.
        """
        found = _generate.generate(
            self.model,
            self.params,
            [self.tokens(prompt) for prompt in prompts],
            max_tokens=max_tokens,
            sampling=sampling,
            seeds=seeds,
            stop_ids=self._stop_ids,
            context_length=self.context_length,
        )
        return [self.tokenizer.decode(row.tokens) for row in found]

    def stream(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 128,
        sampling: _sampling.Sampling = _sampling.Sampling(),
        seed: int = 0,
    ) -> Iterator[str]:
        """Yields the text in pieces, as they become certain; joined they are the text."""
        tokens = _generate.stream(
            self.model,
            self.params,
            self.tokens(prompt),
            max_tokens=max_tokens,
            sampling=sampling,
            seed=seed,
            stop_ids=self._stop_ids,
            context_length=self.context_length,
        )
        decoder = self.tokenizer.stream_decoder()
        for token in tokens:
            if piece := decoder.push(token):
                yield piece
        if piece := decoder.finish():
            yield piece

    def tokens(self, prompt: Prompt) -> np.ndarray:
        """Returns the tokens of a prompt, `i32[n]`."""
        if isinstance(prompt, str):
            has_bos = self.tokenizer.special.adds_bos
            return self.tokenizer.encode(prompt, add_bos=has_bos)
        return self._template.encode(self.tokenizer, prompt, add_generation_prompt=True)

    @functools.cached_property
    def _template(self) -> _chat_template.ChatTemplate:
        return _chat_template.ChatTemplate.of(self.tokenizer)

    @property
    def _stop_ids(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys([*self.tokenizer.stop_ids, *self.stop_ids]))
