"""The official `anthropic` client: each case sync and async, at once and streamed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import anthropic
import pytest

from kauldron.serve import requests
from tests.serve.http import scripted_engine as scripted

ASK = [{"role": "user", "content": "Hi!"}]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
TOOL = {"name": "weather", "description": "Tells.", "input_schema": CITY}
TIME = {"name": "time", "input_schema": CITY}
HELLO = "Hello there, how are you?"
FULL = requests.ServiceError("The queue is full.", retry_after=0.01)
ENDED = requests.ServiceError("The engine has ended.")
PERSON = {"type": "object", "properties": {"name": {"type": "string"}}}


def tagged(**arguments):
    call = json.dumps({"name": "weather", "arguments": arguments})
    return f"<tool_call>\n{call}\n</tool_call>"


PARIS = tagged(city="Paris")
IN_PARIS = ("weather", {"city": "Paris"})


@dataclasses.dataclass(frozen=True)
class Case:
    """A request, and what comes of it.

    Attributes:
      name: Of the case.
      ask: Arguments of the client's method, besides model, messages and `max_tokens`.
      says: Attributes of the engine.
      content: Texts, and calls by name and arguments.
      stop: Reason, and the stop text.
      sampling: Fields of what the engine was asked.
      prompt: What stands in the prompt of the engine.
      usage: Tokens made, and cached ones.
      error: Class of the client's exception.
      kind: Type of the error.
      told: What stands in its message.
    """

    name: str
    ask: dict[str, Any] = dataclasses.field(default_factory=dict)
    says: dict[str, Any] = dataclasses.field(default_factory=dict)
    content: tuple[Any, ...] = (HELLO,)
    stop: tuple[str, str | None] = ("end_turn", None)
    sampling: dict[str, Any] = dataclasses.field(default_factory=dict)
    prompt: str = ""
    usage: tuple[int, int] | None = None
    error: type[anthropic.APIError] | None = None
    kind: str = ""
    told: str = ""


def wrong(
    name,
    ask,
    told,
    says=None,
    error=anthropic.BadRequestError,
    kind="invalid_request_error",
):
    return Case(name, ask, says or {}, error=error, kind=kind, told=told)


def messages(*all):
    return {"messages": list(all)}


def user(*content):
    return {"role": "user", "content": list(content)}


def text(content, **fields):
    return {"type": "text", "text": content, **fields}


_USE = {
    "type": "tool_use",
    "id": "toolu_1",
    "name": "weather",
    "input": {"city": "Rome"},
}
_ASSISTANT = {"role": "assistant", "content": [text("Let me look."), _USE]}


def result(content="Rain.", **fields):
    return {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": content,
        **fields,
    }


_NAMED = {"type": "tool", "name": "weather"}
_CALL = '{"name": "weather", "arguments": {"city": "Paris"}}'

MESSAGES = [
    Case("plain", usage=(8, 0)),
    Case("an empty answer", says={"text": ""}, content=(), usage=(1, 0)),
    Case("letters of several tokens", says={"text": "Grüße 🙂"}, content=("Grüße 🙂",)),
    Case("lines and quotes", says={"text": 'a\n\n"b"\r\n'}, content=('a\n\n"b"\r\n',)),
    Case("cached tokens are counted apart", says={"num_cached": 5}, usage=(8, 5)),
    Case("most tokens", {"max_tokens": 2}, content=("Hello there",), stop=("max_tokens", None), usage=(2, 0)),
    Case("room left by the context", {"max_tokens": 9999}, sampling={"max_tokens": 4075}),
    Case("stop sequence", {"stop_sequences": [" how", "!"]}, content=("Hello there,",), stop=("stop_sequence", " how")),
    Case("temperature", {"extra_body": {"temperature": 0}}, sampling={"temperature": 0.0}),
    Case("top_p and top_k", {"extra_body": {"top_p": 0.5, "top_k": 3}}, sampling={"top_p": 0.5, "top_k": 3}),
    Case("defaults", sampling={"temperature": 1.0, "top_p": 1.0, "top_k": None, "n": 1}),
    Case("a seed of ours", {"extra_body": {"seed": 7}}, sampling={"seed": 7}),
    Case("what has no effect", {"metadata": {"user_id": "u"}, "service_tier": "auto"}),
    Case("no thinking", {"thinking": {"type": "disabled"}}),
    Case("an adapter", {"model": "pirate"}),
    Case("system", {"system": "Be kind."}, prompt="system\nBe kind.<"),
    Case(
        "system blocks",
        {"system": [text("Be kind.", cache_control={"type": "ephemeral"}), text("Be short.")]},
        prompt="system\nBe kind.\n\nBe short.<",
    ),
    Case("blocks", messages(user(text("a"), text("b"))), prompt="user\na\n\nb<"),
    Case(
        "all blocks of a message count",
        messages(user(text("first"), text("second"), text("third"))),
        prompt="first\n\nsecond\n\nthird",
    ),
    Case(
        "messages of one role are one",
        messages({"role": "user", "content": "a"}, {"role": "user", "content": "b"}),
        prompt="user\na\n\nb<",
    ),
    Case(
        "many turns",
        messages(*ASK, {"role": "assistant", "content": "Ho!"}, user(text("And now?"))),
        prompt="assistant\nHo!<|im_end|>\n<|im_start|>user\nAnd now?<",
    ),
    Case(
        "the beginning of an answer is gone on with",
        messages(*ASK, {"role": "assistant", "content": "I say:"}),
        prompt="<|im_start|>assistant\nI say:",
    ),
    Case(
        "a schema",
        {"output_config": {"format": {"type": "json_schema", "schema": PERSON}}},
        sampling={"json_schema": PERSON},
    ),
    Case("thoughts of another model are left out", messages(
        *ASK,
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm", "signature": "x"}, text("Ho!")]},
        user(text("And now?")),
    ), prompt="assistant\nHo!<"),
    Case("tools that are not called", {"tools": [TOOL]}, prompt='"name": "weather"'),
    Case("a call", {"tools": [TOOL]}, {"text": PARIS}, (IN_PARIS,), ("tool_use", None)),
    Case(
        "a call behind text",
        {"tools": [TOOL]},
        {"text": f"Let me look.\n\n{PARIS}"},
        ("Let me look.", IN_PARIS),
        ("tool_use", None),
    ),
    Case(
        "two calls",
        {"tools": [TOOL]},
        {"text": f"{PARIS}\n{tagged(city='Rome')}"},
        (IN_PARIS, ("weather", {"city": "Rome"})),
        ("tool_use", None),
    ),
    Case(
        "one of two calls",
        {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {"text": f"{PARIS}\n{PARIS}"},
        (IN_PARIS,),
        ("tool_use", None),
    ),
    Case("text behind a call", {"tools": [TOOL]}, {"text": f"{PARIS}\nDone."}, (IN_PARIS, "\nDone."), ("tool_use", None)),
    Case("no arguments", {"tools": [{"name": "now", "input_schema": {"type": "object"}}]},
         {"text": '<tool_call>{"name": "now", "arguments": {}}</tool_call>'}, (("now", {}),), ("tool_use", None)),
    Case("quotes in arguments", {"tools": [TOOL]}, {"text": tagged(city='"a"\n\\')}, (("weather", {"city": '"a"\n\\'}),), ("tool_use", None)),
    Case("wrong arguments are text", {"tools": [TOOL]}, {"text": tagged(town="x")}, (tagged(town="x"),)),
    Case("a call that is cut is text", {"tools": [TOOL], "max_tokens": 3}, {"text": PARIS}, ("<to",), ("max_tokens", None)),
    Case("no tools wanted", {"tools": [TOOL], "tool_choice": {"type": "none"}}, {"text": PARIS}, (PARIS,)),
    Case(
        "a call that must be",
        {"tools": [TOOL, TIME], "tool_choice": {"type": "any"}},
        {"text": _CALL},
        (IN_PARIS,),
        ("tool_use", None),
    ),
    Case(
        "a call of the one that must be",
        {"tools": [TOOL, TIME], "tool_choice": _NAMED},
        {"text": _CALL},
        (IN_PARIS,),
        ("tool_use", None),
        {
            "json_schema": {
                "type": "object",
                "properties": {"name": {"const": "weather"}, "arguments": CITY},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        },
    ),
    Case(
        "calls of Mistral's templates",
        {"tools": [TOOL]},
        {"text": f"[TOOL_CALLS][{_CALL}]", "template": scripted.MISTRAL},
        (IN_PARIS,),
        ("tool_use", None),
    ),
    Case(
        "calls of Llama 3's templates",
        {"tools": [TOOL]},
        {"text": _CALL.replace("arguments", "parameters"), "template": scripted.LLAMA3},
        (IN_PARIS,),
        ("tool_use", None),
    ),
    Case(
        "a call and its result",
        messages(*ASK, _ASSISTANT, user(result())),
        prompt='Let me look.<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'
        "<|im_end|>\n<|im_start|>tool\nRain.<",
    ),
    Case("a result of blocks", messages(*ASK, _ASSISTANT, user(result([text("Rain."), text("Sun.")]))), prompt="tool\nRain.\n\nSun.<"),
    Case("a result and a text", messages(*ASK, _ASSISTANT, user(result(), text("So?"))), prompt="tool\nRain.<|im_end|>\n<|im_start|>user\nSo?<"),
    Case("a result that is an error", messages(*ASK, _ASSISTANT, user(result("No net.", is_error=True))), prompt='{"error": "No net."}'),
    wrong("no messages", messages(), "has no message"),
    wrong("unknown role", messages({"role": "system", "content": ""}), "messages[0].role"),
    wrong("unknown block", messages(user({"type": "image", "source": {}})), "must be 'text'"),
    wrong("a result of the assistant", messages({"role": "assistant", "content": [result()]}), "must be 'text'"),
    wrong("space at the end of a beginning", messages(*ASK, {"role": "assistant", "content": "I "}), "trailing whitespace"),
    wrong("temperature", {"extra_body": {"temperature": 1.5}}, "a number from 0 to 1: got 1.5"),
    wrong("no tokens", {"max_tokens": 0}, "whole number of at least 1"),
    wrong("stop sequences", {"stop_sequences": [""]}, "none of them empty"),
    wrong("unknown field", {"extra_body": {"temprature": 1}}, "Extra inputs are not permitted".lower()),
    wrong("thinking", {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "does not think"),
    wrong("a tool of the vendor", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "the server has no tools"),
    wrong("tool without schema", {"tools": [{"name": "x"}]}, "tools[0].input_schema"),
    wrong("two tools of a name", {"tools": [TOOL, TOOL]}, "two tools"),
    wrong("a choice of no tools", {"tool_choice": {"type": "any"}}, "needs `tools`"),
    wrong("a choice of another tool", {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "none of the `tools`"),
    wrong("servers of tools", {"extra_body": {"mcp_servers": [{"type": "url"}]}}, "`mcp_servers` is not supported"),
    wrong("a conversation on the server", {"extra_body": {"thread": {"type": "create"}}}, "`thread` is not supported"),
    wrong("unknown model", {"model": "scriptd"}, "Did you mean 'scripted'?", error=anthropic.NotFoundError, kind="not_found_error"),
    wrong("too long a prompt", messages(user(text("x " * 4096))), "The prompt is too long"),
    wrong("no template", {}, "has no chat template", {"template": None}),
    wrong("a body beyond the limit", messages(user(text("x" * 200_000))), "100000 bytes", error=anthropic.RequestTooLargeError, kind="request_too_large"),
    wrong("what the engine refuses", {}, "stop_sequences: Too many.", {"refusal": requests.RequestError("Too many.", param="stop")}),
    wrong("a full queue", {}, "The queue is full", {"refusal": FULL}, anthropic.RateLimitError, "rate_limit_error"),
    wrong("an engine that has ended", {}, "has ended", {"refusal": ENDED}, anthropic.InternalServerError, "api_error"),
    wrong("a fault of ours", {}, "its log says why", {"refusal": KeyError("x")}, anthropic.InternalServerError, "api_error"),
    wrong("an engine that fails at once", {}, "failed while it answered", {"fails_after": 0}, anthropic.InternalServerError, "api_error"),
]  # fmt: skip


@pytest.fixture(scope="module")
def clients(url, runner):
    options = {"base_url": url, "api_key": "any", "max_retries": 0}
    sync, asynchronous = (
        anthropic.Anthropic(**options),
        anthropic.AsyncAnthropic(**options),
    )
    yield sync, asynchronous
    sync.close()
    runner(asynchronous.close())


def _ask_streaming(client, kwargs):
    with client.messages.stream(**kwargs) as stream:
        kinds = [event.type for event in stream]
        return _checked(stream.get_final_message(), kinds)


async def _ask_async_streaming(client, kwargs):
    async with client.messages.stream(**kwargs) as stream:
        kinds = [event.type async for event in stream]
        return _checked(await stream.get_final_message(), kinds)


def _checked(message, kinds):
    """The grammar: a start, blocks one after the other, what ended it, an end."""
    grammar = [
        kind for kind in kinds if not kind.endswith("delta") or "message" in kind
    ]
    grammar = [kind for kind in grammar if kind not in ("text", "input_json")]
    blocks = ["content_block_start", "content_block_stop"] * len(message.content)
    assert grammar == ["message_start", *blocks, "message_delta", "message_stop"]
    return message


@pytest.mark.parametrize("case", MESSAGES, ids=lambda case: case.name.replace(" ", "_"))
def test_messages(case, engine, clients, runner):
    vars(engine).update(case.says)
    kwargs = {"model": "scripted", "messages": ASK, "max_tokens": 1000} | case.ask
    sync, asynchronous = clients
    for way in (
        lambda: sync.messages.create(**kwargs),
        lambda: _ask_streaming(sync, kwargs),
        lambda: runner(asynchronous.messages.create(**kwargs)),
        lambda: runner(_ask_async_streaming(asynchronous, kwargs)),
    ):
        if case.error is None:
            _check(way(), case, engine)
            continue
        with pytest.raises(case.error) as caught:
            way()
        error = caught.value.body["error"]
        assert case.told in error["message"]
        assert error["type"] == case.kind == caught.value.type
        assert caught.value.request_id == caught.value.body["request_id"]


def _check(message, case, engine):
    content = tuple(
        block.text if block.type == "text" else (block.name, block.input)
        for block in message.content
    )
    assert content == case.content
    assert (message.stop_reason, message.stop_sequence) == case.stop
    assert (message.role, message.type) == ("assistant", "message")
    ids = {block.id for block in message.content if block.type == "tool_use"}
    assert all(id.startswith("toolu_") for id in ids)
    for name, value in case.sampling.items():
        assert getattr(engine.last.sampling, name) == value
    assert case.prompt in engine.last_prompt
    if case.usage is not None:
        usage = message.usage
        assert (usage.output_tokens, usage.cache_read_input_tokens) == case.usage
        num_prompt = usage.input_tokens + usage.cache_read_input_tokens
        assert num_prompt == len(engine.last.prompt)
    assert engine.num_running == 0


def test_tokens_of_a_conversation_are_counted(engine, clients, runner):
    kwargs = {
        "model": "scripted",
        "messages": ASK,
        "system": "Be kind.",
        "tools": [TOOL],
    }
    counted = clients[0].messages.count_tokens(**kwargs).input_tokens
    assert runner(clients[1].messages.count_tokens(**kwargs)).input_tokens == counted
    assert engine.asked == []
    clients[0].messages.create(**kwargs, max_tokens=1)
    assert counted == len(engine.last.prompt)


def test_models_are_listed_in_the_shape_of_the_client(engine, clients):
    assert [m.id for m in clients[0].models.list()] == ["scripted", "pirate"]
    assert clients[0].models.retrieve("pirate").display_name == "pirate"
    with pytest.raises(anthropic.NotFoundError, match="There is no model 'x'"):
        clients[0].models.retrieve("x")


def test_an_engine_that_fails_on_the_way_ends_the_stream_with_an_error(engine, clients):
    engine.fails_after = 3
    kwargs = {"model": "scripted", "messages": ASK, "max_tokens": 9}
    with pytest.raises(anthropic.InternalServerError, match="failed while it answered"):
        clients[0].messages.create(**kwargs)
    seen = []
    with pytest.raises(anthropic.APIStatusError, match="failed while it answered"):
        for event in clients[0].messages.create(**kwargs, stream=True):
            seen.append(event.type)
    assert seen.count("content_block_delta") == 3
    assert engine.num_running == 0


def test_the_tool_loop_of_the_client_runs(engine, clients):
    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: Where.
        """
        engine.text = f"It was asked of {city}."
        return "Rain."

    engine.text = PARIS
    runner = clients[0].beta.messages.tool_runner(
        model="scripted", max_tokens=100, tools=[weather], messages=ASK, thread=False
    )
    assert runner.until_done().content[0].text == "It was asked of Paris."
    assert "tool\nRain.<" in engine.last_prompt
