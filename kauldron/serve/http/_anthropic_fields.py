"""Reads Anthropic's messages, and writes them as chat templates read them."""

from __future__ import annotations

import json
from typing import Any

from kauldron.serve.http import _prompts, _tools
from kauldron.serve.http._errors import HttpError
from kauldron.serve.http._fields import REQUIRED, Fields
from kauldron.serve.http._generation import ToolChoice
from kauldron.serve.http._openai_fields import read_name

# Known, and without any effect here.
_IGNORED = (
    "metadata",
    "service_tier",
    "cache_control",
    "inference_geo",
    "diagnostics",
    "user_profile_id",
    "workspace_id",
    "billing_policy",
    "fallback_credit_token",
)
_REFUSED = {
    "container": "there is none.",
    "mcp_servers": "there are none.",
    "context_management": "the context is what is sent.",
    "compaction": "the context is what is sent.",
    "fallbacks": "there is no other model.",
    "thread": "the server keeps no conversations (`tool_runner(thread=False)`).",
    "output_format": "use `output_config.format`.",
}


def read_conversation(body: Fields) -> tuple[_prompts.Conversation, ToolChoice]:
    """Returns the conversation, and what the client says about calls.

    Raises:
      HttpError: If a field is wrong.
    """
    body.accept(*_IGNORED)
    body.refuse(_REFUSED)
    body.choice("speed", ("standard", "fast"))
    _check_thinking(body)
    messages = _messages(body)
    beginning = ""
    if messages[-1]["role"] == "assistant" and "tool_calls" not in messages[-1]:
        beginning = messages.pop()["content"]
        if beginning != beginning.rstrip():
            raise HttpError(
                400,
                "`messages`: final assistant content cannot end with trailing whitespace.",
                param="messages",
            )
    if system := _system(body):
        messages.insert(0, {"role": "system", "content": system})
    tools = _read_tools(body)
    choice = _read_tool_choice(body, tools)
    tools = [] if choice.kind == "none" else tools
    conversation = _prompts.Conversation(
        messages=messages, tools=tools, beginning=beginning
    )
    return conversation, choice


def _check_thinking(body: Fields) -> None:
    thinking = body.object("thinking")
    if thinking is not None:
        if thinking.raw("type", REQUIRED) not in ("disabled", "adaptive"):
            raise thinking.wrong("type", "must be 'disabled': the model does not think")
        thinking.accept("display")
        thinking.finish()


def read_schema(body: Fields) -> dict[str, Any] | None:
    """Returns the JSON schema of the answer; `None` if it is free text."""
    config = body.object("output_config")
    if config is None:
        return None
    config.accept("effort")
    wanted = config.object("format")
    schema = None
    if wanted is not None:
        wanted.choice("type", ("json_schema",), REQUIRED)
        wanted.required_object("schema")
        schema = wanted.raw("schema")
        wanted.finish()
    config.finish()
    return schema


def _system(body: Fields) -> str:
    if isinstance(body.raw("system", ""), str):
        return body.text("system", "")
    return "\n\n".join(_text_block(block) for block in body.objects("system"))


def _text_block(block: Fields) -> str:
    if block.raw("type", REQUIRED) != "text":
        what = "must be 'text': the model reads nothing else"
        raise block.wrong("type", what)
    block.accept("cache_control", "citations")
    text = block.text("text", REQUIRED)
    block.finish()
    return text


def _messages(body: Fields) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for fields in body.objects("messages", REQUIRED):
        role = fields.choice("role", ("user", "assistant"), REQUIRED)
        for message in _of_message(fields, role):
            # Several of one role are one, as at Anthropic.
            before: dict[str, Any] = found[-1] if found else {"role": ""}
            is_plain = set(message) == set(before) == {"role", "content"}
            if is_plain and before["role"] == message["role"]:
                before["content"] += f"\n\n{message['content']}"
            else:
                found.append(message)
        fields.finish()
    if not found:
        raise body.wrong("messages", "has no message")
    return found


def _of_message(fields: Fields, role: str) -> list[dict[str, Any]]:
    """Returns the messages of one: results of tools are messages of their own."""
    content = fields.raw("content", REQUIRED)
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    if not isinstance(content, list):
        raise fields.wrong("content", "must be a text or a list of blocks")
    texts, calls, results = [], [], []
    for block in fields.objects("content"):
        kind = block.raw("type", REQUIRED)
        if kind == "tool_use" and role == "assistant":
            calls.append(_call(block))
        elif kind == "tool_result" and role == "user":
            results.append(_result(block))
        elif kind in ("thinking", "redacted_thinking") and role == "assistant":
            continue  # of another model: this one is not shown it
        else:
            texts.append(_text_block(block))
    message: dict[str, Any] = {"role": role, "content": "\n\n".join(texts)}
    if calls:
        message["tool_calls"] = calls
    return [*results, message] if texts or calls or not results else results


def _call(block: Fields) -> dict[str, Any]:
    block.accept("cache_control", "caller")
    block.required_object("input")
    function = {"name": block.text("name", REQUIRED), "arguments": block.raw("input")}
    call = {"id": block.text("id", REQUIRED), "type": "function", "function": function}
    block.finish()
    return call


def _result(block: Fields) -> dict[str, Any]:
    block.accept("cache_control")
    content = block.raw("content", "")
    if isinstance(content, list):
        texts = [_text_block(part) for part in block.objects("content")]
        content = "\n\n".join(texts)
    elif not isinstance(content, str):
        raise block.wrong("content", "must be a text or a list of blocks")
    if block.flag("is_error"):
        content = json.dumps({"error": content}, ensure_ascii=False)
    message = {
        "role": "tool",
        "content": content,
        "tool_call_id": block.text("tool_use_id", REQUIRED),
    }
    block.finish()
    return message


def _read_tools(body: Fields) -> list[_tools.Tool]:
    found: list[_tools.Tool] = []
    for fields in body.objects("tools"):
        if fields.raw("type", "custom") != "custom":
            raise fields.wrong("type", "must be 'custom': the server has no tools")
        fields.accept(
            "cache_control", "strict", "eager_input_streaming", "input_examples"
        )
        fields.accept("defer_loading", "allowed_callers")
        name = read_name(fields, 128)
        if name in {tool.name for tool in found}:
            raise fields.wrong("name", "is the name of two tools")
        fields.required_object("input_schema")
        schema = fields.raw("input_schema")
        found.append(_tools.Tool(name, fields.text("description", ""), schema))
        fields.finish()
    return found


def _read_tool_choice(body: Fields, tools: list[_tools.Tool]) -> ToolChoice:
    chosen = body.object("tool_choice")
    if chosen is None:
        return ToolChoice()
    kind = chosen.choice("type", ("auto", "any", "tool", "none"), REQUIRED)
    only_one = chosen.flag("disable_parallel_tool_use")
    name = chosen.text("name", REQUIRED) if kind == "tool" else None
    chosen.finish()
    if kind in ("auto", "none"):
        return ToolChoice(kind, None, only_one)
    if not tools:
        raise chosen.wrong("type", "needs `tools`")
    if name is not None and name not in {tool.name for tool in tools}:
        raise chosen.wrong("name", "is none of the `tools`")
    return ToolChoice("required", name, only_one)
