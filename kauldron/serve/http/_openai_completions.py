"""`/v1/completions`: texts or tokens in, what comes after each of them out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple

from kauldron._base.web_calls import sse
from kauldron.serve import requests
from kauldron.serve.http import (
    _generation,
    _logprobs,
    _openai_fields,
    _prompts,
)
from kauldron.serve.http._calls import PINGS, Call
from kauldron.serve.http._errors import HttpError
from kauldron.serve.http._fields import REQUIRED, Fields
from kauldron.serve.http._generation import Part, Service
from kauldron.serve.http._openai_chat import DONE, Head, finish_reason, usage_of

MAX_PROMPTS = 128
# Of the old API: so many tokens unless told.
_MAX_TOKENS = 16


class _Shape(NamedTuple):
    """What the choices of a completion are like.

    Attributes:
      echoed: In front of the answers to each prompt.
      n: Answers of a prompt.
      prompts: Whose log-probabilities stand in front of the answers' ones; else none.
    """

    echoed: Sequence[str]
    n: int
    prompts: Sequence[Sequence[int]] = ()

    def echo(self, index: int) -> str:
        """Returns what stands in front of a choice."""
        return self.echoed[index // self.n]

    def prompt_logprobs(self, first: Part) -> list[requests.TokenLogprob]:
        """Returns those of a prompt, which come with its first answer's first part."""
        if not self.prompts or first.index % self.n:
            return []
        prompt = self.prompts[first.index // self.n]
        return _logprobs.of_prompt(prompt, first.prompt_logprobs)


async def answer(call: Call, service: Service) -> None:
    """Answers a completion."""
    body = call.body
    adapter = service.adapter(body)
    prompts = await read_prompts(service, body, "prompt", MAX_PROMPTS)
    sampling = _openai_fields.read_sampling(body, service)
    sampling["max_tokens"] = sampling["max_tokens"] or _MAX_TOKENS
    sampling["logprobs"] = body.integer("logprobs", 0, 20)
    sampling["json_schema"] = _openai_fields.read_format(body)
    body.refuse({"suffix": "the model goes on with texts, it fills no gaps."})
    n = sampling["n"]
    if body.integer("best_of", 1, _openai_fields.MAX_ANSWERS, n) != n:
        raise body.wrong("best_of", "must be `n`: all answers are given")
    echoed = [""] * len(prompts)
    is_echoed, has_logprobs = body.flag("echo"), sampling["logprobs"] is not None
    if is_echoed:
        echoed = [service.engine.tokenizer.decode(prompt) for prompt in prompts]
    has_logprobs &= is_echoed
    is_streamed, has_usage = _openai_fields.read_streaming(body)
    if has_logprobs and is_streamed and n > 1:
        raise body.wrong("n", "must be 1 in a stream with `echo` and `logprobs`")
    priority = body.integer("priority", -100, 100, 0)
    body.finish()
    params = {**_openai_fields.PARAMS, "prompt": "prompt", "logprobs": "logprobs"}
    streams = []
    for prompt in prompts:
        request = service.request(
            prompt,
            sampling,
            adapter=adapter,
            priority=priority,
            param="prompt",
            prompt_logprobs=has_logprobs,
        )
        streams.append(_generation.parts(service, request, params))
    parts = _generation.merged(streams, lambda prompt, index: prompt * n + index)
    head = Head("text_completion", body.text("model"), "cmpl")
    shape = _Shape(echoed, n, prompts if has_logprobs else ())
    if is_streamed:
        chunks = _chunks(service, parts, head, shape, has_usage)
        await call.stream(chunks, PINGS[call.vendor])
    else:
        await call.reply(await _whole(service, parts, head, shape))


async def read_prompts(
    service: Service, body: Fields, name: str, most: int
) -> list[tuple[int, ...]]:
    """Returns the tokens of prompts: a text, texts, tokens, or lists of tokens.

    Raises:
      HttpError: If they are something else.
    """
    given = body.raw(name, REQUIRED)
    if isinstance(given, str) or _is_tokens(given):
        given = [given]
    is_right = isinstance(given, list) and all(
        isinstance(p, str) or _is_tokens(p) for p in given
    )
    if not is_right:
        raise body.wrong(name, "must be a text, a list of texts, or lists of tokens")
    if not 1 <= len(given) <= most:
        raise body.wrong(name, f"must be at least one and at most {most}")
    num_tokens = service.engine.tokenizer.num_tokens
    found = []
    for prompt in given:
        if isinstance(prompt, str):
            found.append(await _prompts.of_text(service.engine, prompt))
            continue
        wrong = next((t for t in prompt if not 0 <= t < num_tokens), None)
        if wrong is not None:
            raise HttpError(
                400,
                f"`{name}` has the token {str(wrong)[:40]}: there are 0 to "
                f"{num_tokens - 1}.",
                param=name,
            )
        found.append(tuple(prompt))
    return found


def _is_tokens(value: object) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(type(t) is int for t in value)
    )


async def _whole(
    service: Service, parts: AsyncGenerator[Part, None], head: Head, shape: _Shape
) -> dict[str, Any]:
    num = len(shape.echoed) * shape.n
    texts: list[list[Any]] = [[] for _ in range(num)]
    logprobs: list[list[Any]] = [[] for _ in range(num)]
    echoed: dict[int, list[Any]] = {}
    last: dict[int, Part] = {}
    async with contextlib.aclosing(parts):
        async for part in parts:
            if part.index not in last:
                prompt = part.index // shape.n
                echoed[prompt] = shape.prompt_logprobs(part) or echoed.get(prompt, [])
            texts[part.index] += part.content
            logprobs[part.index] += part.logprobs
            last[part.index] = part
    tokenizer = service.engine.tokenizer
    choices = [
        {
            "index": i,
            "text": shape.echo(i) + "".join(texts[i]),
            "logprobs": _logprobs.of_completion(
                tokenizer, echoed[i // shape.n] + logprobs[i], 0
            ),
            "finish_reason": finish_reason(last[i]),
        }
        for i in range(num)
    ]
    usages = [last[i].usage for i in range(num)]
    return head.with_choices(choices, usage=usage_of(usages, len(shape.echoed)))


async def _chunks(
    service: Service,
    parts: AsyncGenerator[Part, None],
    head: Head,
    shape: _Shape,
    has_usage: bool,
) -> AsyncGenerator[bytes, None]:
    last: dict[int, Part] = {}
    offsets: dict[int, int] = {}
    extra = {"usage": None} if has_usage else {}
    tokenizer = service.engine.tokenizer
    async with contextlib.aclosing(parts):
        async for part in parts:
            text = "".join(c for c in part.content if isinstance(c, str))
            logprobs = list(part.logprobs)
            if part.index not in last:
                text = shape.echo(part.index) + text
                logprobs = shape.prompt_logprobs(part) + logprobs
            last[part.index] = part
            offset = offsets.get(part.index, 0)
            found = _logprobs.of_completion(tokenizer, logprobs, offset)
            if found is not None:
                offsets[part.index] = found["text_offset"][-1] + len(
                    found["tokens"][-1]
                )
            choice = {
                "index": part.index,
                "text": text,
                "logprobs": found,
                "finish_reason": finish_reason(part),
            }
            if text or found or part.finish_reason:
                yield sse(head.chunk([choice], **extra))
    if has_usage:
        usages = [last[i].usage for i in sorted(last)]
        usage = usage_of(usages, len(shape.echoed))
        yield sse(head.chunk([], usage=usage))
    yield DONE
