"""What is asked of an engine, and what it answers. No JAX, no HTTP."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from kauldron._base import errors

FinishReason = Literal["stop", "length", "cancelled", "deadline", "error"]


class RequestError(errors.UserError, ValueError):
    """A request that the engine can't take as it is; nothing was started.

    Attributes:
      param: Name of the argument that is wrong, if it is one.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ServiceError(RuntimeError):
    """The engine can't serve now, whatever is asked.

    Attributes:
      retry_after: Seconds after which it is worth to ask again, if the queue is full;
        `None` if the engine has ended.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How the tokens of an answer are chosen, and where it ends.

    The logits are computed in f32: penalties and bias first, then the mask of what is
    allowed, the temperature, and the cuts top-k, top-p, min-p, typical, in this order.

    Attributes:
      max_tokens: The most tokens to make; `None` is all that the context has room for.
      temperature: 0 takes the most likely token.
      top_k: How many tokens may follow; `None` is all.
      top_p: Probability that the tokens that may follow have together.
      min_p: The least probability of a token, as a share of the likeliest one's.
      typical_p: Probability that the most typical tokens have together (locally typical
        sampling).
      repetition_penalty: Divides positive logits of tokens seen in prompt or answer, and
        multiplies negative ones; 1 is none.
      frequency_penalty: Taken off a logit for each time its token is in the answer.
      presence_penalty: Taken off a logit once its token is in the answer.
      logit_bias: Token to what is added to its logit.
      seed: The same request with the same seed gives the same tokens, whoever else is in
        the batch; `None` draws one.
      stop: Texts that end the answer; they are not part of it.
      stop_token_ids: Tokens that end the answer, besides those of the model.
      ignore_eos: Whether the model's own end tokens don't end the answer.
      n: How many answers.
      logprobs: Of how many of the likeliest tokens log-probabilities are told, besides
        that of the token itself; `None` is no log-probabilities.
      json_schema: The answer is JSON of this schema; `{}` is any JSON.
      regex: The answer matches this expression.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = dataclasses.field(default_factory=dict)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    n: int = 1
    logprobs: int | None = None
    json_schema: Mapping[str, Any] | None = None
    regex: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One prompt, and how it is answered.

    Attributes:
      prompt: Its tokens.
      sampling: How tokens are chosen.
      adapter: Name of the LoRA adapter; `None` is the model itself.
      priority: Requests of a larger number come first.
      timeout: Seconds after which the answer ends where it is; `None` is never.
      prompt_logprobs: Whether the log-probabilities of the prompt's tokens are told.
    """

    prompt: tuple[int, ...]
    sampling: SamplingParams = SamplingParams()
    adapter: str | None = None
    priority: int = 0
    timeout: float | None = None
    prompt_logprobs: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenLogprob:
    """A token and its log-probability under the model, before temperature and cuts.

    Attributes:
      token: Its id.
      logprob: Of the model.
      drawn_logprob: Of the distribution it was drawn from, after temperature and cuts.
      top: The likeliest tokens and their log-probabilities, the likeliest first.
    """

    token: int
    logprob: float
    drawn_logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Usage:
    """What an answer has cost so far.

    Attributes:
      prompt_tokens: Of the prompt.
      cached_tokens: Of these, the ones whose keys and values were there already.
      completion_tokens: Tokens made, the one that ended the answer included.
    """

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
    """The next piece of one of the answers to a request.

    The texts of all pieces joined are the answer. A text that may become a stop text is
    held back until it is known.

    Attributes:
      index: Which of the `n` answers.
      text: Of the piece; may be empty.
      tokens: The tokens made since the last piece.
      logprobs: Of each of `tokens`, if they were asked for.
      finish_reason: Why the answer ends here; `None` if it goes on.
      stop: The stop text, or the stop token, that ended it.
      usage: Of this answer.
      prompt_logprobs: Of all tokens of the prompt but the first, in the first piece of the
        first answer, if they were asked for.
    """

    index: int
    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stop: str | int | None = None
    usage: Usage
    prompt_logprobs: tuple[TokenLogprob, ...] = ()


class Engine(Protocol):
    """What a server needs of an engine. `kd.serve.Engine` is one.

    Attributes:
      model_name: Under which it is served.
      tokenizer: Of the model.
      chat_template: Of the model; `None` if it has none.
      context_length: The most tokens of prompt and answer together.
      adapters: Names of the LoRA adapters.
      failure: What ended the engine; `None` while it serves.
    """

    model_name: str
    tokenizer: Any
    chat_template: Any
    context_length: int

    @property
    def adapters(self) -> Sequence[str]: ...

    @property
    def failure(self) -> BaseException | None: ...

    def astream(self, request: Request) -> AsyncIterator[Piece]:
        """Yields the pieces of all answers as they are made.

        Closing the iterator, or cancelling the task that waits for it, cancels the
        request and frees what it holds.

        Raises:
          RequestError: If the request is wrong, before the first piece.
          ServiceError: If the queue is full or the engine has ended, before the first
            piece. An engine that ends later ends each answer with `"error"`.
        """
        ...

    async def aembed(
        self, prompts: list[tuple[int, ...]], *, timeout: float | None = None
    ) -> list[Any]:
        """Returns the embedding of each prompt: the mean of the last hidden states of
        its tokens, `f32[d]`, of norm 1.
        """
        ...

    def stats(self) -> Mapping[str, float]:
        """Returns counts and gauges of the engine by name."""
        ...
