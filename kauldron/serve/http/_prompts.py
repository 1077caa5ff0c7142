"""From a conversation to the tokens of a prompt, by the chat template of the model."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from kauldron import lm
from kauldron.serve import requests
from kauldron.serve.engine import _prompts
from kauldron.serve.http import _tools
from kauldron.serve.http._errors import HttpError

# For templates that know no tools.
_TAUGHT = """You may call functions to assist with the user query. Their signatures are within \
<tools></tools>:
<tools>
{signatures}
</tools>
For each call, return a JSON object with name and arguments within <tool_call></tool_call>:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversation:
    """What is answered.

    Attributes:
      messages: As chat templates read them.
      tools: What the model may call.
      beginning: Of the answer; the model goes on with it.
    """

    messages: Sequence[dict[str, Any]]
    tools: Sequence[_tools.Tool] = ()
    beginning: str = ""


def tool_format(engine: requests.Engine) -> _tools.Format:
    """Returns how the model writes calls."""
    template = _template(engine).text
    return _tools.format_of(template) if "tools" in template else _tools.HERMES


async def of_conversation(
    engine: requests.Engine, conversation: Conversation
) -> tuple[int, ...]:
    """Returns the tokens of a conversation, up to where the answer goes on.

    Raises:
      HttpError: If the model has no chat template, or it refuses the conversation.
    """
    template = _template(engine)
    messages = conversation.messages
    tools = [tool.for_template() for tool in conversation.tools] or None
    if "tools" not in template.text:
        messages, tools = _taught(messages, tools), None

    def encode() -> tuple[int, ...]:
        tokenizer = engine.tokenizer
        tokens = _prompts.of_messages(tokenizer, template, messages, tools)
        return (*tokens, *tokenizer.encode(conversation.beginning).tolist())

    try:
        # In a thread: long texts take seconds, and others are served meanwhile.
        return await asyncio.to_thread(encode)
    except lm.ChatTemplateError as error:
        raise HttpError(400, str(error), param="messages") from None


async def of_text(engine: requests.Engine, text: str) -> tuple[int, ...]:
    """Returns the tokens of a text that the model goes on with, or looks at."""
    return await asyncio.to_thread(_prompts.of_text, engine.tokenizer, text)


def _template(engine: requests.Engine) -> lm.ChatTemplate:
    if engine.chat_template is None:
        raise HttpError(
            400,
            f"The model {engine.model_name!r} has no chat template: it goes on with texts "
            "and answers no messages. Use /v1/completions.",
        )
    return engine.chat_template


def _taught(
    messages: Sequence[Mapping[str, Any]], tools: list[dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """Returns messages in which tools, their calls and results stand as texts."""
    found = [_as_text(message) for message in messages]
    if not tools:
        return found
    signatures = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    taught = _TAUGHT.format(signatures=signatures)
    if found and found[0]["role"] == "system":
        first = {**found[0], "content": f"{found[0]['content']}\n\n{taught}"}
        return [first, *found[1:]]
    return [{"role": "system", "content": taught}, *found]


def _as_text(message: Mapping[str, Any]) -> dict[str, Any]:
    text = message.get("content") or ""
    if message["role"] == "tool":
        text = f"<tool_response>\n{text}\n</tool_response>"
        return {"role": "user", "content": text}
    calls = [call["function"] for call in message.get("tool_calls", ())]
    written = [
        f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"
        for call in calls
    ]
    content = "\n".join(filter(None, [text, *written]))
    return {"role": message["role"], "content": content}
