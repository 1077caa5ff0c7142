"""Conversations that templates are compared on; the script beside it renders them."""

from __future__ import annotations

from typing import Any

VARIABLES = {"bos_token": "<s>", "eos_token": "</s>", "date_string": "26 Jul 2024"}

_WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city, 'now' & <later>",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Köln", "東京"]}},
            "required": ["city"],
        },
    },
}
_CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {}}}

_PLAIN = [
    {"role": "user", "content": " What is 2 + 2?\n"},
    {"role": "assistant", "content": "It is 4, \"four\" & 'vier'.  "},
    {"role": "user", "content": "Größer als <3>? 👍"},
]
_ANSWERED = [*_PLAIN, {"role": "assistant", "content": "Yes."}]
_WITH_SYSTEM = [{"role": "system", "content": "Be brief."}, *_ANSWERED]
_THINKING = [
    {"role": "user", "content": "1 + 1?"},
    {"role": "assistant", "content": "<think>\nadd\n</think>\n\n2"},
]
_CALLS = [
    {"role": "user", "content": "Weather in Köln?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "arguments": {"city": "Köln", "n": 1.5},
                },
            }
        ],
    },
    {"role": "tool", "name": "weather", "content": "12 °C"},
    {"role": "assistant", "content": "It is 12 °C."},
]
_PARTS = [
    {
        "role": "user",
        "content": [{"type": "image"}, {"type": "text", "text": " A cat? "}],
    }
]
_NO_ALTERNATION = [{"role": "assistant", "content": "Hi"}]


def _case(messages: Any, prompt: bool = False, **options: Any) -> dict[str, Any]:
    return {"messages": messages, "add_generation_prompt": prompt, **options}


_EVERY = {
    "a question": _case(_PLAIN, True),
    "answered": _case(_ANSWERED),
    "with a system message": _case(_WITH_SYSTEM),
}

# Template -> name of the case -> arguments of `render`.
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "chatml": _EVERY,
    "llama2": _EVERY | {"roles in disorder": _case(_NO_ALTERNATION)},
    "llama3": _EVERY | {"a tool is called": _case(_CALLS)},
    "mistral": _EVERY | {"roles in disorder": _case(_NO_ALTERNATION)},
    "gemma": _EVERY | {"content in parts": _case(_PARTS, True)},
    "zephyr": _EVERY,
    "phi": _EVERY,
    "deepseek": _EVERY | {"thinking": _case(_THINKING)},
    "qwen_tools": _EVERY
    | {
        "thinking": _case(_THINKING),
        "tools are offered": _case(_PLAIN, True, tools=[_WEATHER, _CLOCK]),
        "a tool is called": _case(_CALLS, tools=[_WEATHER]),
    },
    "command_r": _EVERY | {"tools": _case(_PLAIN, True, tools=[_WEATHER, _CLOCK])},
    "smollm_marked": _EVERY,
}
