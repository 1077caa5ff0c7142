"""`/v1/chat/completions`: a conversation in, the next message out, at once or in chunks."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from kauldron._base.web_calls import sse
from kauldron.serve import requests
from kauldron.serve.http import (
    _generation,
    _logprobs,
    _openai_fields,
    _openai_messages,
    _prompts,
    _tools,
)
from kauldron.serve.http._calls import PINGS, Call
from kauldron.serve.http._generation import Part, Service

DONE = b"data: [DONE]\n\n"
_FINISH = {"deadline": "length"}


async def answer(call: Call, service: Service) -> None:
    """Answers a chat."""
    body = call.body
    adapter = service.adapter(body)
    messages = _openai_messages.read(body)
    sampling = _openai_fields.read_sampling(body, service)
    most = body.integer("max_completion_tokens", 1)
    sampling["max_tokens"] = most or sampling["max_tokens"]
    sampling["logprobs"] = _read_logprobs(body)
    sampling["json_schema"] = _openai_fields.read_format(body)
    if body.raw("modalities", ["text"]) != ["text"]:
        raise body.wrong("modalities", "can be ['text'] only")
    tools = _openai_fields.read_tools(body)
    choice = _openai_fields.read_tool_choice(body, tools)
    use = _generation.tool_use(service.engine, tools, choice)
    is_streamed, has_usage = _openai_fields.read_streaming(body)
    priority = body.integer("priority", -100, 100, 0)
    body.finish()
    if use.must_call:
        if sampling["json_schema"] is not None:
            raise body.wrong(
                "response_format", "can't be had of an answer that is a call"
            )
        sampling["json_schema"] = _tools.schema_of_call(use.tools)
    conversation = _prompts.Conversation(
        messages=messages, tools=() if choice.kind == "none" else tools
    )
    prompt = await _prompts.of_conversation(service.engine, conversation)
    request = service.request(
        prompt, sampling, adapter=adapter, priority=priority, param="messages"
    )
    parts = _generation.parts(service, request, _openai_fields.PARAMS, use)
    head = Head("chat.completion", body.text("model"), "chatcmpl")
    if is_streamed:
        chunks = _chunks(service, parts, head, has_usage)
        await call.stream(chunks, PINGS[call.vendor])
    else:
        await call.reply(await _whole(service, parts, head, request.sampling.n))


def _read_logprobs(body: Any) -> int | None:
    is_wanted = body.flag("logprobs")
    num_top = body.integer("top_logprobs", 0, 20)
    if num_top is not None and not is_wanted:
        raise body.wrong("top_logprobs", "needs `logprobs: true`")
    return (num_top or 0) if is_wanted else None


class Head:
    """What all objects of an answer begin with.

    Args:
      kind: `object` of the API.
      model: As it was asked for.
      prefix: Of the id.
    """

    def __init__(self, kind: str, model: str, prefix: str) -> None:
        self._fields = {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }

    def with_choices(self, choices: list[Any], **fields: Any) -> dict[str, Any]:
        """Returns an object with choices."""
        return {**self._fields, "choices": choices, **fields}

    def chunk(self, choices: list[Any], **fields: Any) -> dict[str, Any]:
        """Returns a chunk with choices."""
        kind = self._fields["object"]
        kind = f"{kind}.chunk" if kind == "chat.completion" else kind
        return {**self._fields, "object": kind, "choices": choices, **fields}


def usage_of(usages: Sequence[requests.Usage], num_prompts: int = 1) -> dict[str, Any]:
    """Returns what the answers to a request have cost together.

    Args:
      usages: Of each answer; those of a prompt stand together.
      num_prompts: How many prompts they answer.
    """
    per_prompt = len(usages) // num_prompts or 1
    first_ones = usages[::per_prompt]
    num_prompt = sum(u.prompt_tokens for u in first_ones)
    num_made = sum(u.completion_tokens for u in usages)
    num_cached = sum(u.cached_tokens for u in first_ones)
    return {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_made,
        "total_tokens": num_prompt + num_made,
        "prompt_tokens_details": {"cached_tokens": num_cached},
    }


async def _whole(
    service: Service, parts: AsyncGenerator[Part, None], head: Head, n: int
) -> dict[str, Any]:
    content: list[list[Any]] = [[] for _ in range(n)]
    logprobs: list[list[Any]] = [[] for _ in range(n)]
    last: dict[int, Part] = {}
    async with contextlib.aclosing(parts):
        async for part in parts:
            content[part.index] += part.content
            logprobs[part.index] += part.logprobs
            last[part.index] = part
    choices = []
    for i, part in sorted(last.items()):
        text = "".join(c for c in content[i] if isinstance(c, str))
        calls = [_call(c) for c in content[i] if not isinstance(c, str)]
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = calls
        else:
            message["content"] = text
        choices.append(
            {
                "index": i,
                "message": message | {"refusal": None},
                "logprobs": _logprobs.of_chat(service.engine.tokenizer, logprobs[i]),
                "finish_reason": finish_reason(part),
            }
        )
    usages = [part.usage for _, part in sorted(last.items())]
    return head.with_choices(choices, usage=usage_of(usages))


def finish_reason(part: Part) -> str | None:
    """Returns the reason in OpenAI's words."""
    return _FINISH.get(part.finish_reason or "", part.finish_reason)


async def _chunks(
    service: Service, parts: AsyncGenerator[Part, None], head: Head, has_usage: bool
) -> AsyncGenerator[bytes, None]:
    last: dict[int, Part] = {}
    num_calls: dict[int, int] = {}
    extra = {"usage": None} if has_usage else {}
    async with contextlib.aclosing(parts):
        async for part in parts:
            index = part.index
            deltas: list[dict[str, Any]] = []
            if index not in last:
                deltas.append({"role": "assistant", "content": ""})
            for item in part.content:
                if isinstance(item, str):
                    deltas.append({"content": item})
                else:
                    number = num_calls.setdefault(index, 0)
                    deltas += _call_deltas(item, number)
                    num_calls[index] = number + 1
            if part.logprobs and not any(d.get("content") for d in deltas):
                deltas.append({"content": ""})
            if part.finish_reason:
                deltas.append({})
            found = _logprobs.of_chat(service.engine.tokenizer, part.logprobs)
            for delta in deltas:
                told = found if "content" in delta and "role" not in delta else None
                found = None if told else found
                choice = {
                    "index": index,
                    "delta": delta,
                    "logprobs": told,
                    "finish_reason": None if delta else finish_reason(part),
                }
                yield sse(head.chunk([choice], **extra))
            last[index] = part
    if has_usage:
        usages = [part.usage for _, part in sorted(last.items())]
        yield sse(head.chunk([], usage=usage_of(usages)))
    yield DONE


def _call(call: _tools.ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _call_deltas(call: _tools.ToolCall, index: int) -> list[dict[str, Any]]:
    """Returns id and name, then the arguments: clients join what comes twice."""
    whole = _call(call)
    function = whole["function"]
    begin = {**whole, "index": index, "function": {**function, "arguments": ""}}
    rest = {"index": index, "function": {"arguments": function["arguments"]}}
    return [{"tool_calls": [begin]}, {"tool_calls": [rest]}]
