"""Reads what OpenAI's chats and completions have in common: sampling, and what is ignored."""

from __future__ import annotations

from typing import Any

from kauldron.serve.http import _tools
from kauldron.serve.http._errors import HttpError
from kauldron.serve.http._fields import REQUIRED, Fields
from kauldron.serve.http._generation import MAX_STOPS, Service, ToolChoice

MAX_ANSWERS = 128
# What the client calls the arguments of the engine.
PARAMS = {
    "json_schema": "response_format",
    "prompt": "messages",
    "logprobs": "top_logprobs",
}
# Known, and without any effect here.
_IGNORED = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "verbosity",
)
_REFUSED = {
    "audio": "there is only text.",
    "functions": "use `tools`.",
    "function_call": "use `tool_choice`.",
    "prediction": "there is none.",
    "web_search_options": "there is no search.",
    "moderation": "there is none.",
}


def read_sampling(body: Fields, service: Service) -> dict[str, Any]:
    """Returns fields of `SamplingParams`, and reads what is ignored or refused."""
    body.accept(*_IGNORED)
    body.refuse(_REFUSED)
    # Most clients send no seed and 0 for the likeliest: so does `top_p` here.
    found = {
        "temperature": body.number("temperature", 0, 2, 1.0),
        "top_p": max(body.number("top_p", 0, 1, 1.0), 1e-6),
        "frequency_penalty": body.number("frequency_penalty", -2, 2, 0.0),
        "presence_penalty": body.number("presence_penalty", -2, 2, 0.0),
        "seed": _seed(body),
        "n": body.integer("n", 1, MAX_ANSWERS, 1),
        "stop": body.texts("stop", most=MAX_STOPS),
        "logit_bias": _logit_bias(body, service.engine.tokenizer.num_tokens),
        "max_tokens": body.integer("max_tokens", 1),
    }
    return found | _read_own_sampling(body)


def _read_own_sampling(body: Fields) -> dict[str, Any]:
    """Reads what the engine has, and OpenAI's API has not."""
    tokens = body.raw("stop_token_ids", [])
    if not isinstance(tokens, list) or not all(type(t) is int for t in tokens):
        raise body.wrong("stop_token_ids", "must be a list of tokens")
    return {
        "top_k": body.integer("top_k", 1),
        "min_p": body.number("min_p", 0, 1, 0.0),
        "typical_p": body.number("typical_p", 0, 1, 1.0),
        "repetition_penalty": body.number("repetition_penalty", 0.01, 100, 1.0),
        "ignore_eos": body.flag("ignore_eos"),
        "stop_token_ids": tuple(tokens),
        "regex": body.text("regex"),
    }


def _seed(body: Fields) -> int | None:
    seed = body.integer("seed", -(2**63), 2**64 - 1)
    return None if seed is None else seed % 2**32


def _logit_bias(body: Fields, num_tokens: int) -> dict[int, float]:
    biases = body.object("logit_bias")
    found = {}
    for name in body.raw("logit_bias", {}):
        if not (name.isascii() and name.isdecimal()) or int(name[:12]) >= num_tokens:
            raise HttpError(
                400,
                f"`logit_bias` is by token, a number below {num_tokens}: got "
                f"{name[:40]!r}.",
                param="logit_bias",
            )
        found[int(name)] = biases.number(name, -100, 100) if biases else 0.0
    return {token: bias for token, bias in found.items() if bias}


def read_streaming(body: Fields) -> tuple[bool, bool]:
    """Returns whether the answer is streamed, and whether its usage is told at the end."""
    is_streamed = body.flag("stream")
    options = body.object("stream_options")
    if options is None:
        return is_streamed, False
    if not is_streamed:
        raise body.wrong("stream_options", "is for `stream: true` only")
    options.accept("include_obfuscation")
    has_usage = options.flag("include_usage")
    options.finish()
    return is_streamed, has_usage


def read_format(body: Fields) -> dict[str, Any] | None:
    """Returns the JSON schema of the answer; `None` if it is free text."""
    wanted = body.object("response_format")
    if wanted is None:
        return None
    kind = wanted.choice("type", ("text", "json_object", "json_schema"), REQUIRED)
    schema: dict[str, Any] | None = {"type": "object"} if kind != "text" else None
    if kind == "json_schema":
        described = wanted.required_object("json_schema")
        described.accept("name", "description", "strict")
        described.object("schema")
        schema = described.raw("schema", {"type": "object"})
        described.finish()
    wanted.finish()
    return schema


def read_tools(body: Fields) -> list[_tools.Tool]:
    """Returns the tools of a chat."""
    found: list[_tools.Tool] = []
    for tool in body.objects("tools"):
        tool.choice("type", ("function",), REQUIRED)
        function = tool.required_object("function")
        function.accept("strict")
        name = read_name(function, 64)
        if name in {t.name for t in found}:
            raise function.wrong("name", "is the name of two tools")
        description = function.text("description", "")
        function.object("parameters")
        parameters = function.raw("parameters", {"type": "object", "properties": {}})
        found.append(_tools.Tool(name, description, parameters))
        function.finish()
        tool.finish()
    return found


def read_name(fields: Fields, most: int) -> str:
    """Returns the name of a tool."""
    name = fields.text("name", REQUIRED)
    is_name = name.isascii() and name.replace("_", "a").replace("-", "a").isalnum()
    if not is_name or len(name) > most:
        what = f"must have at most {most} letters, digits, '_' and '-'"
        raise fields.wrong("name", what)
    return name


def read_tool_choice(body: Fields, tools: list[_tools.Tool]) -> ToolChoice:
    """Returns what the client says about calls."""
    only_one = not body.flag("parallel_tool_calls", True)
    choice = body.raw("tool_choice", "auto")
    if isinstance(choice, str):
        body.choice("tool_choice", ("none", "auto", "required"))
        if choice == "required" and not tools:
            raise body.wrong("tool_choice", "needs `tools`")
        return ToolChoice(choice, None, only_one)
    chosen = body.required_object("tool_choice")
    chosen.choice("type", ("function",), REQUIRED)
    function = chosen.required_object("function")
    name = function.text("name", REQUIRED)
    if name not in {tool.name for tool in tools}:
        raise function.wrong("name", "is none of the `tools`")
    function.finish()
    chosen.finish()
    return ToolChoice("required", name, only_one)
