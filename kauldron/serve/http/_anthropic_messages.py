"""`/v1/messages` and `/v1/messages/count_tokens`: Anthropic's protocol."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from kauldron._base.web_calls import sse
from kauldron.serve import requests
from kauldron.serve.http import _anthropic_fields, _generation, _prompts, _tools
from kauldron.serve.http._calls import PINGS, Call
from kauldron.serve.http._fields import REQUIRED, Fields
from kauldron.serve.http._generation import Part, Service

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "deadline": "max_tokens",
    "tool_calls": "tool_use",
}
# What the client calls the arguments of the engine.
_PARAMS = {
    "json_schema": "output_config",
    "prompt": "messages",
    "stop": "stop_sequences",
}


async def answer(call: Call, service: Service) -> None:
    """Answers a conversation."""
    body = call.body
    adapter = service.adapter(body)
    sampling = _read_sampling(body)
    conversation, choice = _anthropic_fields.read_conversation(body)
    is_streamed = body.flag("stream")
    priority = body.integer("priority", -100, 100, 0)
    body.finish()
    use = _generation.tool_use(service.engine, conversation.tools, choice)
    if use.must_call:
        if sampling["json_schema"] is not None:
            raise body.wrong(
                "output_config", "can't be had of an answer that is a call"
            )
        sampling["json_schema"] = _tools.schema_of_call(use.tools)
    prompt = await _prompts.of_conversation(service.engine, conversation)
    request = service.request(
        prompt, sampling, adapter=adapter, priority=priority, param="messages"
    )
    parts = _generation.parts(service, request, _PARAMS, use)
    message = {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": body.text("model"),
    }
    if is_streamed:
        await call.stream(_events(parts, message), PINGS[call.vendor])
    else:
        await call.reply(await _whole(parts, message))


async def count_tokens(call: Call, service: Service) -> None:
    """Tells how many tokens a conversation has."""
    body = call.body
    service.adapter(body)
    _anthropic_fields.read_schema(body)
    conversation, _ = _anthropic_fields.read_conversation(body)
    body.finish()
    prompt = await _prompts.of_conversation(service.engine, conversation)
    await call.reply({"input_tokens": len(prompt)})


def _read_sampling(body: Fields) -> dict[str, Any]:
    return {
        "max_tokens": body.integer("max_tokens", 1, default=REQUIRED),
        "temperature": body.number("temperature", 0, 1, 1.0),
        "top_p": max(body.number("top_p", 0, 1, 1.0), 1e-6),
        "top_k": body.integer("top_k", 0) or None,
        "stop": body.texts("stop_sequences", most=_generation.MAX_STOPS),
        "seed": body.integer("seed", 0, 2**32 - 1),
        "json_schema": _anthropic_fields.read_schema(body),
    }


def _usage(usage: requests.Usage, num_output: int) -> dict[str, Any]:
    """Returns what an answer has cost; cached tokens are counted apart."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": num_output,
    }


def _stop(part: Part) -> dict[str, Any]:
    if part.stop is not None and part.finish_reason == "stop":
        return {"stop_reason": "stop_sequence", "stop_sequence": part.stop}
    reason = _STOP_REASONS[part.finish_reason or "stop"]
    return {"stop_reason": reason, "stop_sequence": None}


def _tool_use(call: _tools.ToolCall) -> dict[str, Any]:
    tool_id = call.id.replace("call_", "toolu_")
    return {
        "type": "tool_use",
        "id": tool_id,
        "name": call.name,
        "input": call.arguments,
    }


async def _whole(
    parts: AsyncGenerator[Part, None], message: dict[str, Any]
) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    last: Part | None = None
    async with contextlib.aclosing(parts):
        async for last in parts:
            for item in last.content:
                if not isinstance(item, str):
                    content.append(_tool_use(item))
                elif content and content[-1]["type"] == "text":
                    content[-1]["text"] += item
                else:
                    content.append({"type": "text", "text": item})
    assert last is not None
    usage = _usage(last.usage, last.usage.completion_tokens)
    return {**message, "content": content, **_stop(last), "usage": usage}


async def _events(
    parts: AsyncGenerator[Part, None], message: dict[str, Any]
) -> AsyncGenerator[bytes, None]:
    index, is_open = -1, False
    last: Part | None = None
    async with contextlib.aclosing(parts):
        async for part in parts:
            if last is None:
                begin = {
                    **message,
                    "content": [],
                    "stop_reason": None,
                    "stop_sequence": None,
                    "usage": _usage(part.usage, min(part.usage.completion_tokens, 1)),
                }
                yield _event("message_start", message=begin)
            last = part
            for item in part.content:
                if isinstance(item, str):
                    if not is_open:
                        index, is_open = index + 1, True
                        block = {"type": "text", "text": ""}
                        yield _block_start(index, block)
                    yield _delta(index, {"type": "text_delta", "text": item})
                    continue
                if is_open:
                    yield _event("content_block_stop", index=index)
                index, is_open = index + 1, False
                block = _tool_use(item)
                yield _block_start(index, {**block, "input": {}})
                written = json.dumps(block["input"], ensure_ascii=False)
                yield _delta(
                    index, {"type": "input_json_delta", "partial_json": written}
                )
                yield _event("content_block_stop", index=index)
    assert last is not None
    if is_open:
        yield _event("content_block_stop", index=index)
    usage = _usage(last.usage, last.usage.completion_tokens)
    yield _event("message_delta", delta=_stop(last), usage=usage)
    yield _event("message_stop")


def _event(name: str, **fields: Any) -> bytes:
    return sse({"type": name, **fields}, name)


def _block_start(index: int, block: dict[str, Any]) -> bytes:
    return _event("content_block_start", index=index, content_block=block)


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return _event("content_block_delta", index=index, delta=delta)
