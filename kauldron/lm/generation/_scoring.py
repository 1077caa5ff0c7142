"""How likely a text is: perplexity and bits per byte, in windows that overlap."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import modules as nn
from kauldron.ktyping import Float, Int, PyTree
from kauldron.lm.generation import _generate
from kauldron.lm.generation._text_generator import TextGenerator
from kauldron.metrics import arrays


@dataclasses.dataclass(frozen=True)
class TextScore:
    """How likely a text is under a model.

    Attributes:
      num_tokens: Tokens that were predicted: all but the first.
      num_bytes: Bytes of the text that they stand for, in UTF-8.
      nats: Sum of their negative log-probabilities.
    """

    num_tokens: int
    num_bytes: int
    nats: float

    @property
    def perplexity(self) -> float:
        """`exp` of the mean negative log-probability of a token."""
        return math.exp(self.nats / self.num_tokens)

    @property
    def bits_per_byte(self) -> float:
        """Bits that the model needs for a byte: comparable between tokenizers."""
        return self.nats / math.log(2) / self.num_bytes

    def as_dict(self) -> dict[str, float]:
        """Returns counts and measures by name."""
        names = ("num_tokens", "num_bytes", "perplexity", "bits_per_byte")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return (
            f"perplexity {self.perplexity:.3f}, {self.bits_per_byte:.3f} bits per byte "
            f"({self.num_tokens} tokens, {self.num_bytes} bytes)"
        )


def token_logprobs(
    model: nn.CausalLM,
    params: PyTree,
    tokens: Sequence[int] | np.ndarray,
    *,
    window: int = 512,
    stride: int | None = None,
) -> np.ndarray:
    """Returns the log-probability of each token but the first, f32[n - 1].

    A row has `window` tokens to read at most. The next row begins `stride` tokens later,
    and only what the rows before did not predict counts of it: each token is predicted
    once, with `window - stride` tokens before it at least, as far as there are so many.

    Args:
      model: The decoder.
      params: Its parameters.
      tokens: Of the text.
      window: Tokens that the model reads at once.
      stride: By default half a window.

    Raises:
      PromptError: If there are fewer than two tokens, one is none of the model's, or the
        sizes are out of range. Nothing is compiled then.
    """
    tokens = np.asarray(tokens)
    stride = max(window // 2, 1) if stride is None else stride
    if not 1 <= stride <= window:
        raise _generate.PromptError(
            f"`stride` must be from 1 to `window`: got stride={stride}, window={window}."
        )
    if model.max_positions is not None and window > model.max_positions:
        raise _generate.PromptError(
            f"`window` must be within the {model.max_positions} positions of the model: "
            f"got {window}."
        )
    if tokens.size < 2:
        raise _generate.PromptError(
            f"A text of two tokens at least can be scored: got {tokens.size}."
        )
    _generate.check_prompts([tokens], model.vocab_size)
    found = [
        np.asarray(_logprobs(params, row, model=model))[0, first:last]
        for row, first, last in _rows(tokens.astype(np.int32), window, stride)
    ]
    return np.concatenate(found)


def _rows(
    tokens: np.ndarray, window: int, stride: int
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yields rows of `window + 1` tokens, and which of their predictions count."""
    num_predicted = 0
    for start in range(0, tokens.size - 1, stride):
        part = tokens[start : start + window + 1]
        row = np.zeros((1, window + 1), np.int32)
        row[0, : part.size] = part
        yield row, num_predicted - start, part.size - 1
        num_predicted = start + part.size - 1
        if num_predicted == tokens.size - 1:
            return


@functools.partial(jax.jit, static_argnames=("model",))
def _logprobs(params: PyTree, row: Int["*b t"], *, model: nn.CausalLM) -> Float["*b t"]:
    outputs: Any = model.apply({"params": params}, row[:, :-1])
    logits = outputs["logits"]
    return arrays.logprobs_of(logits.astype(jnp.float32), row[:, 1:])


def score(
    generator: TextGenerator,
    text: str,
    *,
    window: int = 512,
    stride: int | None = None,
) -> TextScore:
    """Returns how likely a text is; see `token_logprobs`.

    Args:
      generator: The model and its tokenizer.
      text: The text. If the model was trained with `bos` before each text, that is what
        the first token is predicted from; else the first token is not predicted.
      window: Tokens that the model reads at once; no more than its context.
      stride: By default half a window.
    """
    if generator.context_length is not None:
        window = min(window, generator.context_length)
    tokens = generator.tokens(text)
    logprobs = token_logprobs(
        generator.model, generator.params, tokens, window=window, stride=stride
    )
    first = generator.tokenizer.decode(tokens[:1])
    num_bytes = len(text.encode()) - len(first.encode())
    return TextScore(
        len(logprobs), num_bytes, float(-np.sum(logprobs, dtype=np.float64))
    )
