"""The official clients and a real engine with a small model."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import signal
import subprocess
import sys

import anthropic
import openai
import pytest

from kauldron import kd
from tests.lm import small_model

pytestmark = pytest.mark.slow

ASK = [{"role": "user", "content": "To be"}]
_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
_SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "boolean"}},
    "required": ["a"],
    "additionalProperties": False,
}


def _parts():
    model = small_model.model()
    tokenizer = dataclasses.replace(small_model.tokenizer(), chat_template=_TEMPLATE)
    return model, small_model.params(model), tokenizer


@pytest.fixture(scope="module")
def engine():
    sizes = {"num_slots": 4, "context_length": 1024, "chunk_sizes": (16,)}
    options = {"decode_widths": (), "warm_up": False, "model_name": "small"}
    with kd.serve.Engine(_parts(), **sizes, **options) as engine:
        yield engine


@pytest.fixture(scope="module")
def url(engine):
    with kd.serve.background_server(kd.serve.make_app(engine)) as url:
        yield url


@pytest.fixture(scope="module")
def client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def other(url):
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def expected():
    """What plain generation answers."""
    model, params, tokenizer = _parts()
    generator = kd.lm.TextGenerator(model=model, params=params, tokenizer=tokenizer)
    (answer,) = generator([ASK], max_tokens=12)
    return answer


def test_greedy_answers_are_those_of_generation_for_both_clients(
    client, other, expected
):
    kwargs = {"model": "small", "messages": ASK, "max_tokens": 12}
    whole = client.chat.completions.create(**kwargs, temperature=0)
    assert whole.choices[0].message.content == expected
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 12
    chunks = client.chat.completions.create(**kwargs, temperature=0, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == expected
    greedy = {"extra_body": {"temperature": 0}}
    message = other.messages.create(**kwargs, **greedy)
    assert message.content[0].text == expected
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 12)
    with other.messages.stream(**kwargs, **greedy) as stream:
        assert "".join(stream.text_stream) == expected


def test_answers_of_a_seed_are_the_same_again(client):
    kwargs = {"model": "small", "messages": ASK, "max_tokens": 8, "n": 3, "seed": 5}
    first, again = (client.chat.completions.create(**kwargs) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) == 3


def test_logprobs_of_an_echoed_text_are_its_score(client, engine):
    text = "to be or not to be"
    ask = {"model": "small", "prompt": text, "max_tokens": 1, "temperature": 0}
    choice = client.completions.create(**ask, echo=True, logprobs=0).choices[0]
    first, *others = choice.logprobs.token_logprobs[:-1]
    assert first is None
    assert -sum(others) == pytest.approx(engine.score(text).nats, rel=1e-4)


def test_an_answer_ends_in_front_of_a_stop_text(client, expected):
    stop = expected[5:7]
    kwargs = {"model": "small", "messages": ASK, "max_tokens": 12, "temperature": 0}
    choice = client.chat.completions.create(**kwargs, stop=stop).choices[0]
    assert choice.message.content == expected.partition(stop)[0]
    assert choice.finish_reason == "stop"


def test_schemas_are_kept_to(client):
    described = {"name": "x", "schema": _SCHEMA}
    kwargs = {"model": "small", "messages": ASK, "max_tokens": 60}
    completion = client.chat.completions.create(
        **kwargs, response_format={"type": "json_schema", "json_schema": described}
    )
    assert set(json.loads(completion.choices[0].message.content)) == {"a"}
    described = {"name": "x", "schema": {"type": "nonsense"}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            **kwargs, response_format={"type": "json_schema", "json_schema": described}
        )
    assert caught.value.param == "response_format"


def test_a_call_that_must_be_is_one(client, other):
    kwargs = {"model": "small", "messages": ASK, "max_tokens": 200}
    function = {"name": "f", "parameters": _SCHEMA}
    completion = client.chat.completions.create(
        **kwargs,
        tools=[{"type": "function", "function": function}],
        tool_choice="required",
    )
    (call,) = completion.choices[0].message.tool_calls
    assert set(json.loads(call.function.arguments)) == {"a"}
    message = other.messages.create(
        **kwargs,
        tools=[{"name": "f", "input_schema": _SCHEMA}],
        tool_choice={"type": "any"},
    )
    (block,) = message.content
    assert (block.name, set(block.input)) == ("f", {"a"})


def test_the_command_prints_a_line_that_works(tmp_path):
    folder = small_model.save(tmp_path / "small")
    _, _, tokenizer = _parts()
    tokenizer.save(folder)
    sizes = ("--num_slots=2", "--context_length=128", "--name=it's")
    command = (sys.executable, "-m", "kauldron.cli.main", "serve", f"--hf={folder}")
    process = subprocess.Popen(
        [*command, "--port=0", *sizes], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines[1].startswith("Serving it's at http://127.0.0.1:")
        words = shlex.split(lines[2])
        if shutil.which(words[0]):
            body = json.loads(words[-1]) | {"max_tokens": 4}
            asked = [*words[:-1], json.dumps(body)]
            done = subprocess.run(asked, capture_output=True, text=True, check=True)
            assert json.loads(done.stdout)["object"] == "chat.completion"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "All answers are given.\n"
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
