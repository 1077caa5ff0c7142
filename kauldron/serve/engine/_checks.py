"""What is wrong with a request, before anything is started for it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from kauldron._base import errors
from kauldron.serve.requests import Request, RequestError, SamplingParams


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What an engine can take.

    Attributes:
      vocab_size: Of the model.
      context_length: The most tokens of prompt and answer together.
      max_answers: The most answers to one request.
      max_top_logprobs: Of how many of the likeliest tokens log-probabilities are told.
      max_bias: The most tokens with a bias.
      max_stop_ids: The most tokens that end an answer.
      adapters: Names of the adapters.
    """

    vocab_size: int
    context_length: int
    max_answers: int
    max_top_logprobs: int
    max_bias: int
    max_stop_ids: int
    adapters: Sequence[str]


def check(request: Request, limits: Limits, stop_ids: Sequence[int]) -> None:
    """Raises `RequestError` if an engine can't answer a request.

    Args:
      request: What is asked.
      limits: Of the engine.
      stop_ids: The tokens that would end an answer.
    """
    check_prompt(request.prompt, limits)
    _check_sampling(request.sampling, limits, stop_ids)
    max_tokens = request.sampling.max_tokens
    room = limits.context_length - len(request.prompt)
    if room < 1 or (max_tokens or 1) > room:
        asked = "" if max_tokens is None else f", and {max_tokens} more are asked for"
        raise RequestError(
            f"The prompt has {len(request.prompt)} tokens{asked}: the context has room "
            f"for {limits.context_length}. Shorten the prompt, or ask for fewer.",
            param="prompt" if room < 1 else "max_tokens",
        )
    if request.adapter is not None and request.adapter not in limits.adapters:
        raise RequestError(
            f"There is no adapter {request.adapter!r}; there are "
            f"{list(limits.adapters)}."
            f"{errors.did_you_mean(request.adapter, limits.adapters)}",
            param="adapter",
        )
    if request.timeout is not None and not request.timeout > 0:
        raise RequestError(
            f"`timeout` must be > 0 seconds: got {request.timeout}.", param="timeout"
        )


def check_prompt(prompt: Sequence[int], limits: Limits) -> None:
    """Raises `RequestError` unless these are tokens that the model can read."""
    if not prompt:
        raise RequestError(
            "The prompt is empty: a model goes on after one token at least.",
            param="prompt",
        )
    wrong = next((t for t in prompt if not 0 <= t < limits.vocab_size), None)
    if wrong is not None:
        raise RequestError(
            f"The prompt holds the token {wrong}, and the model knows 0 to "
            f"{limits.vocab_size - 1}.",
            param="prompt",
        )
    if len(prompt) > limits.context_length:
        raise RequestError(
            f"The prompt has {len(prompt)} tokens: the context has room for "
            f"{limits.context_length}.",
            param="prompt",
        )


def _check_sampling(
    sampling: SamplingParams, limits: Limits, stop_ids: Sequence[int]
) -> None:
    for name, is_right, rule in _rules(sampling, limits):
        if not is_right:
            raise RequestError(
                f"`{name}` must be {rule}: got {getattr(sampling, name)!r}.", param=name
            )
    if sampling.json_schema is not None and sampling.regex is not None:
        raise RequestError(
            "An answer keeps to `json_schema` or `regex`: got both.", param="regex"
        )
    if len(stop_ids) > limits.max_stop_ids:
        raise RequestError(
            f"{limits.max_stop_ids} tokens may end an answer, those of the model "
            f"included: got {len(stop_ids)}.",
            param="stop_token_ids",
        )


def _rules(sampling: SamplingParams, limits: Limits) -> Iterator[tuple[str, bool, str]]:
    s, vocab_size = sampling, limits.vocab_size

    def in_range(value: float, low: float, high: float) -> bool:
        return math.isfinite(value) and low <= value <= high

    yield "max_tokens", s.max_tokens is None or s.max_tokens >= 1, ">= 1"
    yield "temperature", in_range(s.temperature, 0, 1e4), ">= 0"
    yield "top_k", s.top_k is None or s.top_k >= 1, ">= 1"
    yield "top_p", in_range(s.top_p, 0, 1) and s.top_p > 0, "in (0, 1]"
    yield "min_p", in_range(s.min_p, 0, 1), "in [0, 1]"
    yield "typical_p", in_range(s.typical_p, 0, 1) and s.typical_p > 0, "in (0, 1]"
    penalty = s.repetition_penalty
    yield "repetition_penalty", in_range(penalty, 0, 1e4) and penalty > 0, "> 0"
    for name in ("frequency_penalty", "presence_penalty"):
        yield name, in_range(getattr(s, name), -1e4, 1e4), "a finite number"
    biases = all(in_range(x, -1e4, 1e4) for x in s.logit_bias.values())
    known = all(0 <= t < vocab_size for t in s.logit_bias)
    few = len(s.logit_bias) <= limits.max_bias
    rule = f"finite numbers of at most {limits.max_bias} tokens below {vocab_size}"
    yield "logit_bias", biases and known and few, rule
    yield "n", 1 <= s.n <= limits.max_answers, f"from 1 to {limits.max_answers}"
    most = limits.max_top_logprobs
    is_few = s.logprobs is None or 0 <= s.logprobs <= most
    yield "logprobs", is_few, f"from 0 to {most}"
    are_texts = not isinstance(s.stop, str) and all(s.stop)
    yield "stop", are_texts, "a tuple of texts that are not empty"
    known = all(0 <= t < vocab_size for t in s.stop_token_ids)
    yield "stop_token_ids", known, f"tokens below {vocab_size}"
