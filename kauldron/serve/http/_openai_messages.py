"""Reads the messages of OpenAI's chats, and writes them as chat templates read them."""

from __future__ import annotations

import json
from typing import Any

from kauldron.serve.http._errors import HttpError
from kauldron.serve.http._fields import REQUIRED, Fields

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


def read(body: Fields) -> list[dict[str, Any]]:
    """Returns the messages of a chat.

    Raises:
      HttpError: If there is none, or one is wrong.
    """
    messages = [_message(fields) for fields in body.objects("messages", REQUIRED)]
    if not messages:
        raise body.wrong("messages", "has no message")
    return messages


def _message(fields: Fields) -> dict[str, Any]:
    role = _ROLES[fields.choice("role", tuple(_ROLES), REQUIRED)]
    fields.accept("name", "annotations")
    message: dict[str, Any] = {"role": role, "content": _content(fields)}
    if role == "assistant":
        fields.refuse({"audio": "there is only text.", "function_call": "use `tools`."})
        fields.accept("refusal")
        if calls := [_call(call) for call in fields.objects("tool_calls")]:
            message["tool_calls"] = calls
        elif fields.raw("content") is None and fields.raw("refusal") is None:
            raise HttpError(
                400,
                f"`{fields.where}` has neither `content` nor `tool_calls`.",
                param=fields.path("content"),
            )
    elif role == "tool":
        message["tool_call_id"] = fields.text("tool_call_id", REQUIRED)
    fields.finish()
    return message


def _content(fields: Fields) -> str:
    default = "" if fields.raw("role") == "assistant" else REQUIRED
    content = fields.raw("content", default)
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise fields.wrong("content", "must be a text or a list of parts")
    texts = []
    for part in fields.objects("content"):
        kind = part.raw("type", REQUIRED)
        if kind not in ("text", "refusal"):
            what = "must be 'text': the model reads nothing else"
            raise part.wrong("type", what, code="unsupported_content")
        texts.append(part.text(kind, REQUIRED))
        part.accept("prompt_cache_breakpoint")
        part.finish()
    return "".join(texts)


def _call(fields: Fields) -> dict[str, Any]:
    fields.choice("type", ("function",), "function")
    function = fields.required_object("function")
    written = function.text("arguments", "{}")
    try:
        # Templates write the object; most would write a text with quotes around it.
        arguments = json.loads(written or "{}")
    except (ValueError, RecursionError):
        arguments = written
    call = {
        "id": fields.text("id", REQUIRED),
        "type": "function",
        "function": {"name": function.text("name", REQUIRED), "arguments": arguments},
    }
    function.finish()
    fields.finish()
    return call
