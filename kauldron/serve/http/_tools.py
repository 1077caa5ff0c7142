"""Tools: how templates let a model call them, read from its text while it is written."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kauldron.serve.http import _json_schema


class Tool(NamedTuple):
    """A function that the model may call.

    Attributes:
      name: Of the function.
      description: What it does.
      parameters: JSON schema of its arguments.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]

    def for_template(self) -> dict[str, Any]:
        """Returns it as chat templates read it."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }
        return {"type": "function", "function": function}


class ToolCall(NamedTuple):
    """What a model calls.

    Attributes:
      id: By which the result is told.
      name: Of the tool.
      arguments: They fit the schema of the tool.
    """

    id: str
    name: str
    arguments: dict[str, Any]


class Format(NamedTuple):
    """How a call is written.

    Attributes:
      name: Of the format.
      mark: Stands in templates that teach it; "" matches any.
      begin: In front of a call, or of a list of calls.
      end: Behind it; "" if it ends with the answer.
      is_bare_too: Whether a whole answer that is such JSON is a call as well. Tokens in front
        of it, such as `[TOOL_CALLS]`, are not in the text of some tokenizers.
    """

    name: str
    mark: str
    begin: str
    end: str
    is_bare_too: bool


# The first whose mark is in the template.
FORMATS = (
    Format("hermes", "<tool_call>", "<tool_call>", "</tool_call>", False),
    Format("mistral", "[TOOL_CALLS]", "[TOOL_CALLS]", "", True),
    Format("llama3", "<|python_tag|>", "<|python_tag|>", "", True),
    Format("bare", "", "", "", True),
)
# What a schema makes a model write, whatever its template teaches.
BARE = FORMATS[-1]
HERMES = FORMATS[0]


def format_of(template: str) -> Format:
    """Returns how the template of a model lets it call tools."""
    return next(f for f in FORMATS if f.mark in template)


class Reader:
    """Takes calls out of the text of an answer, piece by piece.

    A text that may become a call is held back until it is known. What looks like a call and
    is none (broken JSON, a tool that does not exist, arguments that don't fit) stays text.

    Args:
      format: How calls are written.
      tools: Those that may be called.
    """

    def __init__(self, format: Format, tools: Sequence[Tool]) -> None:
        self._format = format
        self._tools = {tool.name: tool for tool in tools}
        self._buffer = ""
        self._is_inside = False
        self._has_called = False
        # Until there is a letter, the answer may be nothing but a call.
        self._is_start = format.is_bare_too

    def push(self, text: str) -> list[str | ToolCall]:
        """Returns what has become certain with one more piece of text."""
        self._buffer += text
        if self._is_start:
            seen = self._buffer.strip()
            is_marked = self._format.begin and seen.startswith(self._format.begin)
            if seen[:1] in ("", "{", "[") and not is_marked:
                return []
            self._is_start = False
        found: list[str | ToolCall] = []
        while parts := self._next():
            found += parts
        return found

    def finish(self) -> list[str | ToolCall]:
        """Returns the rest of an answer that has ended."""
        rest, self._buffer = self._buffer, ""
        body = rest.strip()
        if self._is_inside:
            body = body.removeprefix(self._format.begin)
        elif not self._is_start:
            is_said = rest and not (self._has_called and not body)
            return [rest] if is_said else []
        may_be_calls = not self._is_inside or not self._format.end
        calls = self._calls(body) if may_be_calls else None
        return [*calls] if calls else [rest] if rest else []

    def _next(self) -> list[str | ToolCall]:
        """Takes the next text or calls from the buffer; empty if nothing is certain."""
        if not self._is_inside:
            begin = self._format.begin
            at = self._buffer.find(begin) if begin else -1
            self._is_inside = at >= 0
            if at < 0:
                at = len(self._buffer) - _overlap(self._buffer, begin)
            # Space in front of a call belongs to neither; it waits for what follows.
            text = self._buffer[:at].rstrip()
            self._buffer = self._buffer[len(text) :]
            return [text] if text else self._next() if self._is_inside else []
        begin, end = self._format.begin, self._format.end
        start = self._buffer.index(begin) + len(begin)
        at = self._buffer.find(end, start) if end else -1
        while at >= 0:
            calls = self._calls(self._buffer[start:at])
            if calls:
                self._buffer = self._buffer[at + len(end) :]
                self._is_inside, self._has_called = False, True
                return [*calls]
            # The end may stand in an argument.
            at = self._buffer.find(end, at + 1)
        return []

    def _calls(self, text: str) -> list[ToolCall] | None:
        values = _json_values(text)
        calls = [self._call(value) for value in values or ()]
        return None if not calls or None in calls else [c for c in calls if c]

    def _call(self, value: Any) -> ToolCall | None:
        if not isinstance(value, dict):
            return None
        if isinstance(value.get("function"), dict):
            value = value["function"]
        tool = self._tools.get(str(value.get("name")))
        arguments = value.get("arguments", value.get("parameters", {}))
        if isinstance(arguments, str):
            arguments = (_json_values(arguments) or [None])[0]
        if tool is None or not isinstance(arguments, dict):
            return None
        if _json_schema.problem(arguments, tool.parameters):
            return None
        return ToolCall(f"call_{uuid.uuid4().hex[:24]}", tool.name, arguments)


def _json_values(text: str) -> list[Any] | None:
    """Returns the values of a JSON list, or of texts one behind the other, as `{} ; {}`."""
    decoder, values, at = json.JSONDecoder(), [], 0
    text = text.strip()
    try:
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            values += value if isinstance(value, list) else [value]
            while at < len(text) and text[at] in " \n\t\r;":
                at += 1
    except (ValueError, RecursionError):
        return None
    return values


def _overlap(text: str, begin: str) -> int:
    """Returns how many letters at the end of a text may become `begin`."""
    longest = min(len(text), len(begin) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(begin[:n])), 0)


def schema_of_call(tools: Sequence[Tool]) -> dict[str, Any]:
    """Returns the schema of one call of one of some tools, for an answer that must be one."""
    definitions: dict[str, Any] = {}
    calls = []
    for tool in tools:
        parameters = dict(tool.parameters)
        for keyword in ("$defs", "definitions"):
            for name, schema in (parameters.pop(keyword, None) or {}).items():
                moved = _with_moved_refs(schema, tool.name)
                definitions[f"{tool.name}.{name}"] = moved
        properties = {
            "name": {"const": tool.name},
            "arguments": _with_moved_refs(parameters, tool.name),
        }
        calls.append(
            {
                "type": "object",
                "properties": properties,
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**schema, "$defs": definitions} if definitions else schema


def _with_moved_refs(schema: Any, owner: str) -> Any:
    """Returns a schema whose definitions stand under other names, further up."""
    if isinstance(schema, Mapping):
        moved = {k: _with_moved_refs(v, owner) for k, v in schema.items()}
        ref = schema.get("$ref")
        if isinstance(ref, str) and ref.startswith(("#/$defs/", "#/definitions/")):
            moved["$ref"] = f"#/$defs/{owner}.{ref.split('/', 2)[2]}"
        return moved
    if isinstance(schema, list):
        return [_with_moved_refs(item, owner) for item in schema]
    return schema
