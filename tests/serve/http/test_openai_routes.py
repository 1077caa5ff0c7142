"""The official `openai` client on the other routes: completions, embeddings, models, log-probs."""

from __future__ import annotations

import base64
import json

import numpy as np
import openai
import pydantic
import pytest

from kauldron.serve import requests
from tests.serve.http import scripted_engine as scripted

ASK = [{"role": "user", "content": "Hi!"}]


@pytest.fixture(scope="module")
def client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        yield client


def _joined(chunks):
    texts, reasons = {}, {}
    for chunk in chunks:
        assert chunk.object == "text_completion"
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    return texts, reasons


@pytest.mark.parametrize(
    ("ask", "says", "texts", "reason"),
    [
        ({"prompt": "Once"}, "upon a time", ["upon a time"], "stop"),
        ({"prompt": ["a", "b"]}, "x", ["x", "x"], "stop"),
        ({"prompt": ["a", "b"], "n": 2}, "{i}", ["0", "1", "0", "1"], "stop"),
        ({"prompt": "Once", "echo": True}, " upon", ["Once upon"], "stop"),
        ({"prompt": ["a", "b"], "echo": True, "n": 2}, "{i}", ["a0", "a1", "b0", "b1"], "stop"),
        ({"prompt": "a", "max_tokens": 2}, "Hello there, how", ["Hello there"], "length"),
        ({"prompt": "a", "stop": " how"}, "Hello there, how", ["Hello there,"], "stop"),
        ({"prompt": [5, 6, 7]}, "x", ["x"], "stop"),
        ({"prompt": [[5, 6], [7]]}, "x", ["x", "x"], "stop"),
        ({"prompt": "a", "best_of": 1, "user": "u"}, "x", ["x"], "stop"),
        ({"prompt": "a"}, "abcdefghijklmnopqrstuvwxyz", ["abcdefghijklmnop"], "length"),
    ],
)  # fmt: skip
def test_completions(engine, client, ask, says, texts, reason):
    engine.text = says
    kwargs = {"model": "scripted"} | ask
    whole = client.completions.create(**kwargs)
    assert [choice.text for choice in whole.choices] == texts
    assert {choice.finish_reason for choice in whole.choices} == {reason}
    streamed = client.completions.create(**kwargs, stream=True)
    found, reasons = _joined(streamed)
    assert [found[i] for i in range(len(texts))] == texts
    assert set(reasons.values()) == {reason}
    assert engine.num_running == 0


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        ({"prompt": ""}, "has no tokens"),
        ({"prompt": []}, "at least one"),
        ({"prompt": [1.5]}, "must be a text"),
        ({"prompt": [[1], "a", 2]}, "must be a text"),
        ({"prompt": [99999]}, "has the token 99999"),
        ({"prompt": ["a"] * 129}, "at most 128"),
        ({"prompt": "a", "suffix": "b"}, "fills no gaps"),
        ({"prompt": "a", "best_of": 2}, "all answers are given"),
        (
            {"prompt": "a", "echo": True, "logprobs": 1, "n": 2, "stream": True},
            "must be 1 in a stream",
        ),
        ({"prompt": "x " * 4096}, "The prompt is too long"),
    ],
)
def test_wrong_completions(engine, client, ask, told):
    with pytest.raises(openai.BadRequestError, match=told):
        client.completions.create(model="scripted", **ask)
    assert engine.asked == []


def test_usage_of_a_completion_counts_each_prompt_once(engine, client):
    engine.text = "Hello there"
    kwargs = {"model": "scripted", "prompt": ["How are you", "I am"], "n": 3}
    usage = client.completions.create(**kwargs).usage
    num_prompt = sum(len(request.prompt) for request in engine.asked)
    assert (usage.prompt_tokens, usage.completion_tokens) == (num_prompt, 6 * 3)
    *_, last = client.completions.create(
        **kwargs, stream=True, stream_options={"include_usage": True}
    )
    assert (last.choices, last.usage) == ([], usage)


def test_logprobs_of_a_chat_are_told_for_each_token(engine, client):
    engine.text = "Hello 🙂"
    kwargs = {"model": "scripted", "messages": ASK, "logprobs": True, "top_logprobs": 2}
    choice = client.chat.completions.create(**kwargs).choices[0]
    content = choice.logprobs.content
    tokens = engine.tokenizer.encode("Hello 🙂").tolist()
    assert [t.logprob for t in content] == [-0.5] * len(tokens)
    assert (content[0].token, content[0].bytes) == ("Hello", list(b"Hello"))
    assert content[-1].bytes is None  # a part of a letter
    first, second = content[0].top_logprobs
    assert (first.token, first.logprob, second.logprob) == ("Hello", -0.5, -1.0)
    chunks = list(client.chat.completions.create(**kwargs, stream=True))
    streamed = [
        entry
        for chunk in chunks
        if chunk.choices[0].logprobs
        for entry in chunk.choices[0].logprobs.content
    ]
    assert streamed == content


def test_logprobs_of_a_completion_are_in_the_old_shape(engine, client):
    engine.text = "Hello there"
    kwargs = {"model": "scripted", "prompt": "a", "logprobs": 1}
    found = client.completions.create(**kwargs).choices[0].logprobs
    assert found.tokens == ["Hello", " there"]
    assert found.token_logprobs == [-0.5, -0.5]
    assert found.text_offset == [0, 5]
    assert found.top_logprobs == [{"Hello": -0.5}, {" there": -0.5}]
    chunks = [c.choices[0] for c in client.completions.create(**kwargs, stream=True)]
    assert [t for c in chunks if c.logprobs for t in c.logprobs.text_offset] == [0, 5]


def test_an_echoed_prompt_has_logprobs_but_for_its_first_token(engine, client):
    engine.text = " there"
    kwargs = {"model": "scripted", "echo": True, "logprobs": 1}
    choices = client.completions.create(
        prompt=["Hello you", "a"], n=2, **kwargs
    ).choices
    for choice in choices[:2]:
        assert choice.text == "Hello you there"
        assert choice.logprobs.tokens == ["Hello", " you", " there"]
        assert choice.logprobs.token_logprobs == [None, -0.5, -0.5]
        assert choice.logprobs.text_offset == [0, 5, 9]
        assert choice.logprobs.top_logprobs == [None, {" you": -0.5}, {" there": -0.5}]
    assert choices[3].logprobs.token_logprobs == [None, -0.5]
    stream = client.completions.create(prompt="Hello you", stream=True, **kwargs)
    told = [chunk.choices[0].logprobs for chunk in stream]
    tokens = [token for one in told if one for token in one.tokens]
    offsets = [offset for one in told if one for offset in one.text_offset]
    assert (tokens, offsets) == (["Hello", " you", " there"], [0, 5, 9])


def test_embeddings_are_the_same_in_both_encodings(engine, client):
    texts = ["Hello there", "How are you?"]
    packed = client.embeddings.create(model="scripted", input=texts)  # base64
    plain = client.embeddings.create(
        model="scripted", input=texts, encoding_format="float"
    )
    prompts = engine.asked[0]
    for prompt, a, b in zip(prompts, packed.data, plain.data, strict=True):
        row = np.array([len(prompt), prompt[0], 1, 0], np.float32)
        np.testing.assert_allclose(a.embedding, row / np.linalg.norm(row), rtol=1e-6)
        assert a.embedding == b.embedding  # f32 to JSON and back is exact
    assert packed.usage.prompt_tokens == sum(map(len, prompts))
    raw = client.embeddings.with_raw_response.create(
        model="scripted", input="a", encoding_format="base64"
    ).http_response.json()
    assert len(base64.b64decode(raw["data"][0]["embedding"])) == 4 * 4


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        ({"input": []}, "at least one"),
        ({"input": ["a", ""]}, "has an empty text"),
        ({"input": "a", "dimensions": 3}, "must be 4"),
        ({"input": "a", "encoding_format": "int8"}, "must be one of float, base64"),
        ({"input": "x " * 4097}, "is too long"),
        ({"input": "a", "model": "pirate"}, "adapters embed nothing"),
    ],
)
def test_wrong_embeddings(engine, client, ask, told):
    with pytest.raises(openai.BadRequestError, match=told):
        client.embeddings.create(**{"model": "scripted"} | ask)


def test_models_are_listed(engine, client):
    assert [m.id for m in client.models.list()] == ["scripted", "pirate"]
    assert client.models.retrieve("pirate").owned_by == "kauldron"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("a/b")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_adapters_are_models(engine, client):
    client.completions.create(model="pirate", prompt="a")
    assert engine.last.adapter == "pirate"
    client.completions.create(model="scripted", prompt="a")
    assert engine.last.adapter is None


def test_an_engine_that_fails_on_the_way_ends_the_stream_with_an_error(engine, client):
    engine.fails_after = 3
    seen = []
    with pytest.raises(openai.APIError, match="failed while it answered"):
        for chunk in client.chat.completions.create(
            model="scripted", messages=ASK, stream=True
        ):
            seen.append(chunk.choices[0].delta.content)
    assert seen == ["", "Hello", " there", ","]
    assert engine.num_running == 0


@pytest.mark.parametrize(("secs", "told"), [(0.01, "1"), (3600, "30")])
def test_a_full_queue_is_asked_again_soon(engine, client, secs, told):
    engine.refusal = requests.ServiceError("Full.", retry_after=secs)
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="scripted", messages=ASK)
    assert caught.value.response.headers["retry-after"] == told


class _Person(pydantic.BaseModel):
    name: str
    age: int


def test_answers_are_parsed_by_the_client(engine, client):
    engine.text = json.dumps({"name": "Ada", "age": 36})
    parsed = client.chat.completions.parse(
        model="scripted", messages=ASK, response_format=_Person
    )
    assert parsed.choices[0].message.parsed == _Person(name="Ada", age=36)
    assert engine.last.sampling.json_schema["required"] == ["name", "age"]


def test_the_clients_own_stream_ends_with_the_whole_answer(engine, client):
    engine.text = (
        f"Well. <tool_call>{json.dumps({'name': 'f', 'arguments': {}})}</tool_call>"
    )
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    with client.chat.completions.stream(
        model="scripted", messages=ASK, tools=tools
    ) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    assert message.content == "Well."
    assert message.tool_calls[0].function.name == "f"


def test_definitions_of_a_tool_are_found_in_the_schema_of_a_call(engine, client):
    parameters = {
        "type": "object",
        "properties": {"to": {"$ref": "#/$defs/Place"}},
        "$defs": {"Place": {"type": "string"}},
    }
    engine.text = json.dumps({"name": "go", "arguments": {"to": "Rome"}})
    function = {"name": "go", "parameters": parameters}
    found = client.chat.completions.create(
        model="scripted",
        messages=ASK,
        tools=[{"type": "function", "function": function}],
        tool_choice="required",
    )
    assert found.choices[0].finish_reason == "tool_calls"
    schema = engine.last.sampling.json_schema
    arguments = schema["properties"]["arguments"]
    assert arguments["properties"]["to"] == {"$ref": "#/$defs/go.Place"}
    assert schema["$defs"] == {"go.Place": {"type": "string"}}


def test_a_template_of_llama_3_is_bare():
    from kauldron.serve.http import _tools

    assert _tools.format_of(scripted.LLAMA3) is _tools.BARE
