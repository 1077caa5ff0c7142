"""The official `openai` client: each case sync and async, at once and streamed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import openai
import pytest

from kauldron.serve import requests
from tests.serve.http import scripted_engine as scripted

ASK = [{"role": "user", "content": "Hi!"}]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


def tool(name="weather", parameters=None):
    function = {"name": name, "description": "Tells.", "parameters": parameters or CITY}
    return {"type": "function", "function": function}


def call(name="weather", **arguments):
    return json.dumps({"name": name, "arguments": arguments})


def tagged(*calls):
    return "\n".join(f"<tool_call>\n{c}\n</tool_call>" for c in calls)


PARIS = call(city="Paris")
HELLO = "Hello there, how are you?"
FULL = requests.ServiceError("The queue is full.", retry_after=0.01)
ENDED = requests.ServiceError("The engine has ended.")
PERSON = {"type": "object", "properties": {"name": {"type": "string"}}}


@dataclasses.dataclass(frozen=True)
class Case:
    """A request, and what comes of it.

    Attributes:
      name: Of the case.
      ask: Arguments of the client's method, besides model and messages.
      says: Attributes of the engine.
      texts: Of the choices.
      finish: Reason of each choice.
      calls: Name and arguments of each call of the first choice.
      sampling: Fields of what the engine was asked.
      prompt: What stands in the prompt of the engine.
      usage: Tokens made, and cached ones.
      error: Class of the client's exception.
      told: What stands in its message.
      param: And the field that it names.
    """

    name: str
    ask: dict[str, Any] = dataclasses.field(default_factory=dict)
    says: dict[str, Any] = dataclasses.field(default_factory=dict)
    texts: tuple[str | None, ...] = (HELLO,)
    finish: str = "stop"
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    sampling: dict[str, Any] = dataclasses.field(default_factory=dict)
    prompt: str = ""
    usage: tuple[int, int] | None = None
    error: type[openai.APIError] | None = None
    told: str = ""
    param: str | None = None


def wrong(name, ask, told, param=None, says=None, error=openai.BadRequestError):
    return Case(name, ask, says or {}, error=error, told=told, param=param)


def messages(*all):
    return {"messages": list(all)}


_USER = {"role": "user", "content": "And now?"}
_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
}
_RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Rain."}
_NAMED = {"type": "function", "function": {"name": "weather"}}
_SCHEMA = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}

CHATS = [
    Case("plain", usage=(8, 0)),
    Case("an empty answer", says={"text": ""}, texts=("",), usage=(1, 0)),
    Case("letters of several tokens", says={"text": "Grüße 🙂 你好"}, texts=("Grüße 🙂 你好",)),
    Case("lines and quotes", says={"text": 'a\n\n"b"\r\n'}, texts=('a\n\n"b"\r\n',)),
    Case("cached tokens", says={"num_cached": 5}, usage=(8, 5)),
    Case("length", {"max_tokens": 2}, texts=("Hello there",), finish="length", usage=(2, 0)),
    Case(
        "length by its other name",
        {"max_completion_tokens": 2, "max_tokens": 7},
        texts=("Hello there",),
        finish="length",
    ),
    Case("room left by the context", sampling={"max_tokens": 4096 - 21}),
    Case("a long answer is cut to the room", {"max_tokens": 9999}, sampling={"max_tokens": 4075}),
    Case("stop text", {"stop": " how"}, texts=("Hello there,",), sampling={"stop": (" how",)}),
    Case("stop texts", {"stop": ["you", "there"]}, texts=("Hello ",)),
    Case("several answers", {"n": 3}, {"text": "No {i}"}, ("No 0", "No 1", "No 2")),
    Case("seed", {"seed": 7}, sampling={"seed": 7}),
    Case("negative seed", {"seed": -1}, sampling={"seed": 2**32 - 1}),
    Case("temperature", {"temperature": 0}, sampling={"temperature": 0.0}),
    Case("defaults", sampling={"temperature": 1.0, "top_p": 1.0, "n": 1, "seed": None}),
    Case("top_p", {"top_p": 0.5}, sampling={"top_p": 0.5}),
    Case(
        "penalties",
        {"presence_penalty": 1.5, "frequency_penalty": -1},
        sampling={"presence_penalty": 1.5, "frequency_penalty": -1.0},
    ),
    Case("logit bias", {"logit_bias": {"5": -100, "6": 0}}, sampling={"logit_bias": {5: -100.0}}),
    Case(
        "what the engine has besides",
        {"extra_body": {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.2}},
        sampling={"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.2},
    ),
    Case(
        "what has no effect",
        {"user": "u", "metadata": {"a": "b"}, "store": False, "reasoning_effort": "low"},
    ),
    Case("unset fields", {"stop": None, "temperature": None, "tools": openai.omit}),
    Case("an adapter", {"model": "pirate"}),
    Case("system", messages({"role": "system", "content": "Be kind."}, _USER), prompt="system\nBe kind."),
    Case("developer", messages({"role": "developer", "content": "Be kind."}, _USER), prompt="system\nBe kind."),
    Case(
        "parts",
        messages({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
        prompt="user\nab<",
    ),
    Case(
        "many turns",
        messages(*ASK, {"role": "assistant", "content": "Ho!"}, _USER),
        prompt="assistant\nHo!<|im_end|>\n<|im_start|>user\nAnd now?",
    ),
    Case("special tokens of people are letters", messages({"role": "user", "content": "<|im_end|>"})),
    Case("json object", {"response_format": {"type": "json_object"}}, sampling={"json_schema": {"type": "object"}}),
    Case("json schema", {"response_format": _SCHEMA}, sampling={"json_schema": PERSON}),
    Case("text format", {"response_format": {"type": "text"}}, sampling={"json_schema": None}),
    Case("tools that are not called", {"tools": [tool()]}, prompt='"name": "weather"'),
    Case(
        "a call",
        {"tools": [tool()]},
        {"text": tagged(PARIS)},
        (None,),
        "tool_calls",
        (("weather", {"city": "Paris"}),),
    ),
    Case(
        "a call behind text",
        {"tools": [tool()]},
        {"text": f"Let me look.\n\n{tagged(PARIS)}"},
        ("Let me look.",),
        "tool_calls",
        (("weather", {"city": "Paris"}),),
    ),
    Case(
        "two calls",
        {"tools": [tool(), tool("time")]},
        {"text": tagged(PARIS, call("time", city="Rome"))},
        (None,),
        "tool_calls",
        (("weather", {"city": "Paris"}), ("time", {"city": "Rome"})),
    ),
    Case(
        "one of two calls",
        {"tools": [tool()], "parallel_tool_calls": False},
        {"text": tagged(PARIS, PARIS)},
        (None,),
        "tool_calls",
        (("weather", {"city": "Paris"}),),
    ),
    Case(
        "an end mark in an argument",
        {"tools": [tool()]},
        {"text": tagged(call(city="a</tool_call>b"))},
        (None,),
        "tool_calls",
        (("weather", {"city": "a</tool_call>b"}),),
    ),
    Case(
        "a call of a tool that does not exist is text",
        {"tools": [tool()]},
        {"text": tagged(call("wether", city="Paris"))},
        (tagged(call("wether", city="Paris")),),
    ),
    Case(
        "a call with wrong arguments is text",
        {"tools": [tool()]},
        {"text": tagged(call(town="Paris"))},
        (tagged(call(town="Paris")),),
    ),
    Case(
        "broken JSON is text",
        {"tools": [tool()]},
        {"text": '<tool_call>{"name": </tool_call>'},
        ('<tool_call>{"name": </tool_call>',),
    ),
    Case(
        "a call that is cut is text",
        {"tools": [tool()], "max_tokens": 3},
        {"text": "<tool_call>{"},
        ("<to",),
        "length",
    ),
    Case("what could become a call", {"tools": [tool()]}, {"text": "1 <tool"}, ("1 <tool",)),
    Case("no tools wanted", {"tools": [tool()], "tool_choice": "none"}, {"text": tagged(PARIS)}, (tagged(PARIS),)),
    Case(
        "a call that must be",
        {"tools": [tool(), tool("time")], "tool_choice": "required"},
        {"text": PARIS},
        (None,),
        "tool_calls",
        (("weather", {"city": "Paris"}),),
    ),
    Case(
        "a call of the one that must be",
        {"tools": [tool(), tool("time")], "tool_choice": _NAMED},
        {"text": PARIS},
        (None,),
        "tool_calls",
        (("weather", {"city": "Paris"}),),
        sampling={
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
        {"tools": [tool()]},
        {"text": f"[TOOL_CALLS][{PARIS}, {PARIS}]", "template": scripted.MISTRAL},
        (None,),
        "tool_calls",
        (("weather", {"city": "Paris"}),) * 2,
    ),
    Case(
        "calls of Mistral's templates, the mark not shown",
        {"tools": [tool()]},
        {"text": f"[{PARIS}]", "template": scripted.MISTRAL},
        (None,),
        "tool_calls",
        (("weather", {"city": "Paris"}),),
    ),
    Case(
        "calls of Llama 3's templates",
        {"tools": [tool()]},
        {"text": '{"name": "weather", "parameters": {"city": "Paris"}}', "template": scripted.LLAMA3},
        (None,),
        "tool_calls",
        (("weather", {"city": "Paris"}),),
    ),
    Case(
        "JSON that is no call",
        {"tools": [tool()]},
        {"text": '{"city": "Paris"}', "template": scripted.LLAMA3},
        ('{"city": "Paris"}',),
    ),
    Case(
        "a template without tools is told of them",
        {"tools": [tool()]},
        {"text": tagged(PARIS), "template": scripted.PLAIN},
        (None,),
        "tool_calls",
        (("weather", {"city": "Paris"}),),
        prompt='system\nYou may call functions',
    ),
    Case(
        "a call and its result",
        messages(*ASK, {"role": "assistant", "tool_calls": [_CALL]}, _RESULT),
        prompt='<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>',
    ),
    Case(
        "a result in a template without tools",
        messages(*ASK, {"role": "assistant", "tool_calls": [_CALL]}, _RESULT),
        {"template": scripted.PLAIN},
        prompt="user\n<tool_response>\nRain.\n</tool_response>",
    ),
    wrong("no messages", messages(), "has no message", "messages"),
    wrong("unknown role", messages({"role": "x", "content": ""}), "must be one of", "messages[0].role"),
    wrong("no content", messages({"role": "user"}), "is missing", "messages[0].content"),
    wrong(
        "a picture",
        messages({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}),
        "must be 'text'",
        "messages[0].content[0].type",
    ),
    wrong("temperature", {"temperature": 3}, "a number from 0 to 2: got 3", "temperature"),
    wrong("a text for a number", {"temperature": "hot"}, 'got "hot"', "temperature"),
    wrong("max_tokens", {"max_tokens": 0}, "whole number of at least 1", "max_tokens"),
    wrong("n", {"n": 0}, "from 1 to 128", "n"),
    wrong("stop", {"stop": [""]}, "none of them empty", "stop"),
    wrong("logit bias", {"logit_bias": {"9999": 1}}, "a number below", "logit_bias"),
    wrong("unknown field", {"extra_body": {"temprature": 1}}, "Did you mean 'temperature'?", "temprature"),
    wrong("old functions", {"functions": [{"name": "f"}]}, "use `tools`", "functions"),
    wrong("sound", {"modalities": ["text", "audio"]}, "['text'] only", "modalities"),
    wrong("tool without name", {"tools": [{"type": "function", "function": {}}]}, "is missing", "tools[0].function.name"),
    wrong("two tools of a name", {"tools": [tool(), tool()]}, "two tools", "tools[1].function.name"),
    wrong("a choice of no tools", {"tool_choice": "required"}, "needs `tools`", "tool_choice"),
    wrong("top_logprobs alone", {"top_logprobs": 2}, "needs `logprobs: true`", "top_logprobs"),
    wrong("unknown model", {"model": "scriptd"}, "Did you mean 'scripted'?", "model", error=openai.NotFoundError),
    wrong("too long a prompt", messages({"role": "user", "content": "x " * 4096}), "The prompt is too long", "messages"),
    wrong("no template", {}, "Use /v1/completions", says={"template": None}),
    wrong("a body beyond the limit", messages({"role": "user", "content": "x" * 200_000}), "100000 bytes", error=openai.APIStatusError),
    wrong(
        "what the engine refuses",
        {"response_format": _SCHEMA},
        "No such schema.",
        "response_format",
        {"refusal": requests.RequestError("No such schema.", param="json_schema")},
    ),
    wrong("a full queue", {}, "The queue is full", says={"refusal": FULL}, error=openai.RateLimitError),
    wrong("an engine that has ended", {}, "has ended", says={"refusal": ENDED}, error=openai.InternalServerError),
    wrong("a fault of ours", {}, "its log says why", says={"refusal": KeyError("x")}, error=openai.InternalServerError),
    wrong("an engine that fails at once", {}, "failed while it answered", says={"fails_after": 0}, error=openai.InternalServerError),
]  # fmt: skip


@pytest.fixture(scope="module")
def clients(url, runner):
    options = {"base_url": f"{url}/v1", "api_key": "any", "max_retries": 0}
    sync, asynchronous = openai.OpenAI(**options), openai.AsyncOpenAI(**options)
    yield sync, asynchronous
    sync.close()
    runner(asynchronous.close())


@dataclasses.dataclass
class Answer:
    """What the four ways to ask have in common."""

    texts: dict[int, str | None] = dataclasses.field(default_factory=dict)
    finish: dict[int, str | None] = dataclasses.field(default_factory=dict)
    calls: dict[int, dict[int, list[str]]] = dataclasses.field(default_factory=dict)
    usage: Any = None

    def add(self, chunk):
        """Adds a chunk as clients do: texts of a field are joined."""
        assert chunk.object == "chat.completion.chunk"
        for choice in chunk.choices:
            calls = self.calls.setdefault(choice.index, {})
            if choice.delta.role:
                assert choice.index not in self.texts
                self.texts[choice.index] = None
            if choice.delta.content:
                text = self.texts[choice.index] or ""
                self.texts[choice.index] = text + choice.delta.content
            for part in choice.delta.tool_calls or ():
                found = calls.setdefault(part.index, ["", "", ""])
                found[0] += part.id or ""
                found[1] += part.function.name or ""
                found[2] += part.function.arguments or ""
            if choice.finish_reason:
                assert choice.index not in self.finish
                self.finish[choice.index] = choice.finish_reason
        self.usage = chunk.usage or self.usage

    @classmethod
    def of(cls, completion):
        answer = cls(usage=completion.usage)
        for choice in completion.choices:
            answer.texts[choice.index] = choice.message.content
            answer.finish[choice.index] = choice.finish_reason
            answer.calls[choice.index] = {
                i: [c.id, c.function.name, c.function.arguments]
                for i, c in enumerate(choice.message.tool_calls or ())
            }
        return answer


def _ask(client, kwargs):
    return Answer.of(client.chat.completions.create(**kwargs))


def _ask_streaming(client, kwargs):
    answer = Answer()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    for chunk in client.chat.completions.create(**kwargs, **options):
        answer.add(chunk)
    return answer


async def _ask_async(client, kwargs):
    return Answer.of(await client.chat.completions.create(**kwargs))


async def _ask_async_streaming(client, kwargs):
    answer = Answer()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    async for chunk in await client.chat.completions.create(**kwargs, **options):
        answer.add(chunk)
    return answer


@pytest.mark.parametrize("case", CHATS, ids=lambda case: case.name.replace(" ", "_"))
def test_chats(case, engine, clients, runner):
    vars(engine).update(case.says)
    kwargs = {"model": "scripted", "messages": ASK} | case.ask
    sync, asynchronous = clients
    for way in (
        lambda: _ask(sync, kwargs),
        lambda: _ask_streaming(sync, kwargs),
        lambda: runner(_ask_async(asynchronous, kwargs)),
        lambda: runner(_ask_async_streaming(asynchronous, kwargs)),
    ):
        if case.error is None:
            _check(way(), case, engine)
            continue
        with pytest.raises(case.error) as caught:
            way()
        assert case.told in caught.value.message
        assert caught.value.param == case.param


def _check(answer, case, engine):
    texts = tuple(answer.texts[i] or None for i in range(len(case.texts)))
    assert texts == tuple(text or None for text in case.texts)
    assert set(answer.finish.values()) == {case.finish}
    calls = answer.calls[0].values()
    assert tuple((name, json.loads(args)) for _, name, args in calls) == case.calls
    assert len({id for id, _, _ in calls}) == len(case.calls)
    for name, value in case.sampling.items():
        assert getattr(engine.last.sampling, name) == value
    assert case.prompt in engine.last_prompt
    if case.usage is not None:
        usage = answer.usage
        cached = usage.prompt_tokens_details.cached_tokens
        assert (usage.completion_tokens, cached) == case.usage
        assert usage.prompt_tokens == len(engine.last.prompt)
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert engine.num_running == 0


def test_a_text_that_looks_like_a_special_token_ends_no_turn(engine, clients):
    content = "<|im_end|>"
    kwargs = messages({"role": "user", "content": content})
    clients[0].chat.completions.create(model="scripted", **kwargs)
    end = engine.tokenizer.eos_id
    assert engine.last.prompt.count(end) == 1  # that of the turn
