"""The engine: each answer is what the model makes alone, and ends when it should."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dataclasses
import json
import resource
import sys
import threading
import time

import jax
import numpy as np
import pytest

from kauldron import kd
from kauldron.serve.engine import _building, _sizes, _thread
from tests import compilations
from tests.lm import small_model
from tests.serve.engine import small_engine

TEXTS = [
    "The quick brown fox",
    "x",
    "To be or not to be, that is it. The lazy dog",
    "To be or not to be, that is all",
    "it is",
]


# Not of the module: engines of other tests write to the same pages.
@pytest.fixture
def engine():
    with small_engine.engine() as made:
        yield made


@pytest.fixture(scope="module")
def alone():
    """What `kd.lm.generate` makes of each text alone."""
    return small_engine.generator()(TEXTS, max_tokens=12)


def _request(text="To be", **sampling):
    tokens = small_model.tokenizer().encode(text).tolist()
    params = kd.serve.SamplingParams(**({"max_tokens": 8} | sampling))
    return kd.serve.Request(prompt=tuple(tokens), sampling=params)


def _wait_until(is_so):
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.002)


def _is_empty(engine):
    stats = engine.stats()
    is_idle = stats["running"] == stats["waiting"] == 0
    return is_idle and stats["pages_free"] == stats["pages"]


@pytest.mark.parametrize("has_prefixes", [True, False])
@pytest.mark.parametrize(("num_pages", "token_budget"), [(100, 512), (12, 3)])
def test_greedy_answers_are_those_of_each_prompt_alone(
    alone, has_prefixes, num_pages, token_budget
):
    changed = small_engine.Changed(num_pages=num_pages)
    options = {"has_prefixes": has_prefixes, "token_budget": token_budget}
    with small_engine.engine(changed, **options) as engine:
        for text, expected in zip(TEXTS, alone, strict=True):
            assert engine.generate(text, max_tokens=12, temperature=0) == expected
        texts, expected = [*TEXTS * 3, TEXTS[0]], [*alone * 3, alone[0]]
        assert engine.generate(texts, max_tokens=12, temperature=0) == expected
        stats = engine.stats()
    assert (stats["cached_tokens"] > 0) == has_prefixes
    assert (stats["preemptions"] > 0) == (num_pages == 12)


def test_verified_drafts_make_the_same_answers_in_fewer_visits(engine):
    greedy = {"max_tokens": 30, "ignore_eos": True, "temperature": 0}
    drawn = {"max_tokens": 9, "seed": 4, "n": 2}
    expected = engine.generate(TEXTS, **greedy), engine.generate(TEXTS, **drawn)
    visits = []
    for num_drafts in (0, 3):
        options = {"num_drafts": num_drafts, "steps_per_visit": 1}
        with small_engine.engine(**options) as drafting:
            # Greedy answers of a model that knows nothing repeat themselves.
            texts = drafting.generate(TEXTS, **greedy)
            visits.append(drafting.stats()["visits"])
            assert (texts, drafting.generate(TEXTS, **drawn)) == expected
    assert visits[1] < visits[0]


def test_nothing_is_compiled_once_the_programs_are(engine):
    engine.generate(TEXTS[0], max_tokens=2, temperature=0)
    with compilations.counted() as compiled:
        engine.generate(
            TEXTS * 2, max_tokens=9, seed=1, top_p=0.9, presence_penalty=1.0, n=2
        )
        engine.generate(TEXTS[2], temperature=0, logprobs=3, logit_bias={5: 1.0})
        engine.generate("1", regex="[0-9]{3}", max_tokens=9)
    assert compiled == []


def test_pieces_of_a_stream_are_the_text(engine, alone):
    pieces = list(engine.stream(TEXTS[0], max_tokens=12, temperature=0))
    assert "".join(pieces) == alone[0]
    assert len(pieces) > 1


def test_a_request_with_a_seed_gets_the_same_answers_in_any_company(engine):
    asked = {"max_tokens": 9, "seed": 7, "n": 3}
    first = engine.generate(TEXTS[0], **asked)
    assert len(set(first)) == 3
    among = engine.generate([TEXTS[2], TEXTS[0], TEXTS[1]], **asked)
    assert among[1] == first
    assert engine.generate(TEXTS[0], max_tokens=9, seed=8, n=1) == first[1:2]


def test_without_a_seed_answers_differ(engine):
    assert len(set(engine.generate([TEXTS[0]] * 4, max_tokens=9))) > 1


def test_log_probabilities_are_those_of_the_whole_forward_pass(engine):
    ((answer,),) = engine.answer([_request(logprobs=2, seed=3)])
    prompt = list(_request().prompt)
    expected = kd.lm.token_logprobs(
        small_model.model(),
        small_model.params(small_model.model()),
        [*prompt, *answer.tokens],
    )[len(prompt) - 1 :]
    found = [x.logprob for x in answer.logprobs]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    drawn = [x.drawn_logprob for x in answer.logprobs]
    np.testing.assert_allclose(drawn, expected, atol=1e-4)  # of temperature 1
    assert all(len(x.top) == 2 and x.top[0][1] >= x.logprob for x in answer.logprobs)
    assert [x.token for x in answer.logprobs] == list(answer.tokens)


def test_an_answer_ends_before_its_stop_text(engine, alone):
    stop = alone[2][4:7]
    asked = {"max_tokens": 12, "temperature": 0, "stop": stop}
    assert engine.generate(TEXTS[2], **asked) == alone[2].partition(stop)[0]
    ((answer,),) = engine.answer(
        [_request(TEXTS[2], max_tokens=12, temperature=0, stop=(stop,))]
    )
    assert (answer.finish_reason, answer.stop) == ("stop", stop)
    assert answer.usage.completion_tokens == len(answer.tokens) < 12


def test_an_answer_ends_with_a_stop_token_that_is_counted_and_not_written(engine):
    ((free,),) = engine.answer([_request(temperature=0)])
    last = free.tokens[3]
    asked = _request(temperature=0, stop_token_ids=(last,))
    ((answer,),) = engine.answer([asked])
    end = free.tokens.index(last) + 1
    assert answer.tokens == free.tokens[:end]
    assert (answer.finish_reason, answer.stop) == ("stop", last)
    assert answer.text == small_model.tokenizer().decode(free.tokens[: end - 1])


def test_an_answer_without_a_bound_fills_the_context(engine):
    ((answer,),) = engine.answer(
        [_request(max_tokens=None, temperature=0, ignore_eos=True)]
    )
    usage = answer.usage
    assert answer.finish_reason == "length"
    assert usage.prompt_tokens + usage.completion_tokens == engine.context_length


def test_an_answer_keeps_to_its_schema(engine):
    schema = {
        "type": "object",
        "properties": {"is_in": {"type": "boolean"}, "of": {"enum": ["a", "b"]}},
        "required": ["is_in", "of"],
        "additionalProperties": False,
    }
    texts = engine.generate("x", n=4, seed=0, max_tokens=40, json_schema=schema)
    for text in texts:
        found = json.loads(text)
        assert found.keys() == {"is_in", "of"}
        assert found["of"] in ("a", "b")
    assert engine.generate("x", regex="(ab){2}c", max_tokens=20) == "ababc"


def test_the_prompt_is_scored_with_the_first_piece(engine):
    prompt = tuple(range(3, 30))
    expected = kd.lm.token_logprobs(
        small_model.model(), small_model.params(small_model.model()), prompt
    )
    request = kd.serve.Request(
        prompt=prompt,
        sampling=kd.serve.SamplingParams(max_tokens=2, logprobs=1, n=2),
        prompt_logprobs=True,
    )
    ((first, second),) = engine.answer([request])
    found = [x.logprob for x in first.prompt_logprobs]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert [x.token for x in first.prompt_logprobs] == list(prompt[1:])
    assert all(x.top[0][1] >= x.logprob for x in first.prompt_logprobs)
    assert second.prompt_logprobs == ()


def test_texts_are_scored_as_they_are_alone(engine):
    text = small_model.TEXT[:60]
    expected = kd.lm.score(small_engine.generator(), text)
    found = engine.score(text)
    assert found.num_bytes == expected.num_bytes
    assert found.nats == pytest.approx(expected.nats, rel=1e-4)
    with pytest.raises(kd.serve.RequestError, match="one token has nothing to tell"):
        engine.score("x")


def test_an_embedding_is_the_mean_of_the_last_hidden_states(engine):
    prompts = [tuple(range(3, 30)), (7,) * 27]
    model = small_model.model()
    hidden_of = jax.jit(lambda *x: model.apply(*x, mutable=["intermediates"])[1])
    kept = hidden_of({"params": small_model.params(model)}, np.array(prompts))
    (hidden,) = kept["intermediates"]["hidden"]
    means = np.asarray(hidden).mean(axis=1)
    vectors = asyncio.run(engine.aembed(prompts))
    for vector, mean in zip(vectors, means, strict=True):
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-4)
    texts = engine.embed(TEXTS[:2])
    assert texts.shape == (2, 32)
    np.testing.assert_array_equal(engine.embed(TEXTS[0]), texts[0])


def test_a_conversation_is_answered_by_the_chat_template(engine):
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    trained = small_model.tokenizer()
    tokenizer = kd.lm.Tokenizer(
        definition=trained.definition, special=trained.special, chat_template=template
    )
    messages = [{"role": "user", "content": TEXTS[0]}]
    with small_engine.engine(tokenizer=tokenizer) as chatty:
        answer = chatty.chat(messages, max_tokens=9, temperature=0)
    assert answer == engine.generate(TEXTS[0], max_tokens=9, temperature=0)
    with pytest.raises(kd.lm.ChatTemplateError, match="has no chat template"):
        engine.chat(messages)


@pytest.mark.parametrize(
    ("sampling", "param", "message"),
    [
        ({"temperature": -1.0}, "temperature", "`temperature` must be >= 0: got -1.0"),
        ({"temperature": float("nan")}, "temperature", "must be >= 0: got nan"),
        ({"top_p": 0.0}, "top_p", "in \\(0, 1\\]: got 0.0"),
        ({"top_k": 0}, "top_k", "must be >= 1: got 0"),
        ({"n": 0}, "n", "from 1 to 256: got 0"),
        ({"max_tokens": 0}, "max_tokens", "must be >= 1"),
        ({"max_tokens": 60}, "max_tokens", "2 tokens, and 60 more.* room for 60"),
        ({"logprobs": 6}, "logprobs", "from 0 to 5"),
        ({"stop": ("",)}, "stop", "texts that are not empty"),
        ({"stop_token_ids": (300,)}, "stop_token_ids", "tokens below 300"),
        ({"stop_token_ids": tuple(range(30))}, "stop_token_ids", "16 tokens may end"),
        ({"logit_bias": {300: 1.0}}, "logit_bias", "tokens below 300"),
        ({"regex": "("}, "regex", "can't be kept to"),
        ({"json_schema": {"not": {}}}, "json_schema", "can't be kept to"),
        ({"regex": "a", "json_schema": {}}, "regex", "got both"),
    ],
)
def test_a_wrong_request_is_told_and_harms_nobody(engine, sampling, param, message):
    with pytest.raises(kd.serve.RequestError, match=message) as told:
        engine.answer([_request(**sampling)])
    assert told.value.param == param


def test_wrong_prompts_adapters_times_and_names_are_told(engine):
    for request, message in (
        (kd.serve.Request(prompt=()), "is empty"),
        (kd.serve.Request(prompt=(1, 300)), "holds the token 300"),
        (kd.serve.Request(prompt=(1,) * 60), "has 60 tokens: .* room for 60"),
        (kd.serve.Request(prompt=(1,), adapter="poet"), "no adapter 'poet'"),
        (kd.serve.Request(prompt=(1,), timeout=0.0), "`timeout` must be > 0"),
    ):
        with pytest.raises(kd.serve.RequestError, match=message):
            engine.answer([request])
    with pytest.raises(kd.serve.RequestError, match="Did you mean 'temperature'"):
        engine.generate("x", temprature=0)


def test_closing_a_stream_cancels_its_request(engine):
    stream = engine.stream(TEXTS[0], max_tokens=50, ignore_eos=True, temperature=0)
    next(stream)
    before = engine.stats()["cancelled"]
    stream.close()
    _wait_until(lambda: _is_empty(engine))
    assert engine.stats()["cancelled"] == before + 1


def test_tasks_stream_together_and_one_that_is_cancelled_frees_its_pages(engine):
    async def read(request):
        async with contextlib.aclosing(engine.astream(request)) as pieces:
            return [piece async for piece in pieces]

    async def main():
        long = _request(n=2, max_tokens=50, ignore_eos=True)
        tasks = [asyncio.create_task(read(long)) for _ in range(3)]
        texts = asyncio.create_task(
            engine.agenerate(TEXTS, max_tokens=5, temperature=0)
        )
        await asyncio.sleep(0.01)
        for task in tasks[:2]:
            task.cancel()
        pieces = await tasks[2]
        found = await asyncio.gather(*tasks[:2], return_exceptions=True)
        assert all(isinstance(e, asyncio.CancelledError) for e in found)
        return pieces, await texts

    pieces, texts = asyncio.run(main())
    ends = [p.index for p in pieces if p.finish_reason == "length"]
    assert sorted(ends) == [0, 1]
    assert texts == engine.generate(TEXTS, max_tokens=5, temperature=0)
    _wait_until(lambda: _is_empty(engine))


@pytest.mark.slow
def test_an_engine_in_eight_bits_answers_as_the_rounded_model_does():
    model, tokenizer = small_model.model(), small_model.tokenizer()
    params = small_model.params(model)
    names = kd.nn.logical_axes(model, np.zeros((1, 1), np.int32))["params"]
    rounded = kd.lm.dequantize(kd.lm.quantize(params, names), np.float32)
    generator = kd.lm.TextGenerator(model=model, params=rounded, tokenizer=tokenizer)
    sizes = {
        "num_slots": 4,
        "context_length": 64,
        "decode_widths": (),
        "warm_up": False,
    }
    with kd.serve.Engine(
        (model, params, tokenizer), weights_dtype="int8", **sizes
    ) as engine:
        found = engine.generate(TEXTS, max_tokens=12, temperature=0)
    assert found == generator(TEXTS, max_tokens=12)


def test_weights_that_are_given_away_go_layer_by_layer(monkeypatch):
    generator = small_engine.generator()
    own = jax.tree.map(jax.numpy.array, generator.params)
    quantize, alive = kd.lm.quantize, []

    def noted(params, names):
        alive.append(sum(not x.is_deleted() for x in jax.tree.leaves(own)))
        return quantize(params, names)

    monkeypatch.setattr(kd.lm, "quantize", noted)
    generator = dataclasses.replace(generator, params=own)
    _building._converted(generator, "int8", owns_params=True)
    assert len(alive) == len(own) > 2
    assert alive[0] == len(jax.tree.leaves(own)) > alive[-1]
    assert alive == sorted(alive, reverse=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, calls glibc")
def test_an_engine_keeps_no_memory_that_compiling_has_freed():
    model, tokenizer = small_model.model(), small_model.tokenizer()
    with kd.serve.Engine(
        (model, small_model.params(model), tokenizer),
        num_slots=2,
        context_length=64,
        decode_widths=(),
        chunk_sizes=(16,),
    ):
        kept = _resident_mb()
        ctypes.CDLL(None).malloc_trim(0)
        assert kept - _resident_mb() < 20


def _resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def test_an_engine_gives_memory_back_once_whenever_nobody_asks(monkeypatch):
    given_back = []
    monkeypatch.setattr(_sizes, "give_back_unused", lambda: given_back.append(1))
    monkeypatch.setattr(_thread, "_REST_SECS", 0.05)
    with small_engine.engine() as engine:
        time.sleep(0.2)  # it has done nothing
        assert not given_back
        for number in (1, 2):
            engine.generate(TEXTS[0], max_tokens=2)
            deadline = time.monotonic() + 30
            while len(given_back) < number and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.2)
            assert len(given_back) == number


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights_dtype": "int4"}, "'int8' or None: got 'int4'"),
        ({"attention": "flash"}, "'gather' or 'kernel': got 'flash'"),
        ({"attention": "kernel"}, "needs a GPU or a TPU, and this is a cpu"),
    ],
)
def test_what_an_engine_cannot_do_is_told_before_a_model_is_loaded(options, message):
    with pytest.raises(kd.serve.EngineError, match=message):
        kd.serve.Engine("no-such-model", **options)


def test_an_answer_that_is_late_ends_where_it_is():
    slow = threading.Event()

    class Slow(small_engine.Changed):
        def decode(self, *args):
            slow.wait(0.02)
            return small_engine.programs().decode(*args)

    with small_engine.engine(Slow()) as engine:
        request = kd.serve.Request(
            prompt=(5, 6),
            sampling=kd.serve.SamplingParams(max_tokens=50, ignore_eos=True),
            timeout=0.05,
        )
        ((answer,),) = engine.answer([request])
    assert answer.finish_reason == "deadline"
    assert len(answer.tokens) < 50


def test_a_full_queue_says_when_to_ask_again():
    gate, is_busy = threading.Event(), threading.Event()

    class Waiting(small_engine.Changed):
        def decode(self, *args):
            is_busy.set()
            gate.wait(60)
            return small_engine.programs().decode(*args)

    async def first_piece(engine):
        return await anext(engine.astream(_request()))

    with small_engine.engine(Waiting(), max_waiting=2) as engine:
        streams = [engine.stream("x", max_tokens=3) for _ in range(3)]
        readers = [threading.Thread(target=list, args=(s,)) for s in streams]
        readers[0].start()
        assert is_busy.wait(60)  # so nobody is let in any more
        for reader in readers[1:]:
            reader.start()
        _wait_until(lambda: engine.stats()["waiting"] == 2)
        with pytest.raises(kd.serve.ServiceError, match="queue is full") as told:
            asyncio.run(first_piece(engine))
        assert 1 <= told.value.retry_after <= 30
        gate.set()
        for reader in readers:
            reader.join()
        assert engine.stats()["answers"] == 3


def test_an_answer_that_cannot_be_written_ends_alone(monkeypatch, engine):
    tokenizer = small_model.tokenizer()
    broken = kd.lm.Tokenizer(definition=tokenizer.definition, special=tokenizer.special)
    made = []

    class Decoder:
        def __init__(self, inner):
            self.inner, self.is_broken = inner, len(made) == 1
            made.append(self)

        def push(self, token):
            if self.is_broken:
                raise RuntimeError("no such text")
            return self.inner.push(token)

        def finish(self):
            return self.inner.finish()

    def stream_decoder(**options):
        return Decoder(tokenizer.stream_decoder(**options))

    monkeypatch.setitem(broken.__dict__, "stream_decoder", stream_decoder)
    with small_engine.engine(tokenizer=broken) as other:
        good = other.generate("x", max_tokens=4, temperature=0)
        with pytest.raises(kd.serve.ServiceError, match="failed: no such text"):
            other.generate("x", max_tokens=4, temperature=0)
        assert other.generate("x", max_tokens=4, temperature=0) == good
        assert other.failure is None


def test_if_the_device_fails_all_answers_end_with_an_error_and_it_is_told():
    class Failing(small_engine.Changed):
        def decode(self, *args):
            raise RuntimeError("out of memory")

    async def read(engine):
        return [piece async for piece in engine.astream(_request(n=2))]

    with small_engine.engine(Failing()) as engine:
        pieces = asyncio.run(read(engine))
        assert {p.finish_reason for p in pieces} == {"error"}
        assert str(engine.failure) == "out of memory"
        with pytest.raises(kd.serve.ServiceError, match="ended: out of memory") as told:
            engine.generate("x")
        assert told.value.retry_after is None


@pytest.mark.parametrize("drain", [True, False])
def test_a_shutdown_answers_or_cancels_what_was_taken(drain):
    engine = kd.serve.Engine.from_programs(
        small_engine.programs(), small_model.tokenizer(), small_engine.options()
    )

    async def main():
        stream = engine.astream(_request(max_tokens=50, ignore_eos=True))
        pieces = [await anext(stream)]
        ending = asyncio.create_task(asyncio.to_thread(engine.shutdown, drain=drain))
        pieces += [piece async for piece in stream]
        return pieces, await ending

    pieces, has_ended = asyncio.run(main())
    assert has_ended
    assert pieces[-1].finish_reason == ("length" if drain else "cancelled")
    with pytest.raises(kd.serve.ServiceError, match="shut down"):
        engine.generate("x")


def _ask_and_leave(engine, num_requests):
    """Asks for many answers, of which many are not waited for."""
    rng = np.random.default_rng(0)
    ended = []

    async def one(length, num_made, patience):
        request = kd.serve.Request(
            prompt=tuple(range(3, 3 + length)),
            sampling=kd.serve.SamplingParams(
                max_tokens=num_made, n=1 + length % 2, ignore_eos=True, seed=length
            ),
        )
        try:
            async with contextlib.aclosing(engine.astream(request)) as pieces:
                async for piece in pieces:
                    ended.append(piece.finish_reason)
                    patience -= 1
                    if not patience:
                        return
        except kd.serve.ServiceError as error:
            assert error.retry_after is not None

    async def main():
        for start in range(0, num_requests, 32):
            asked = range(start, min(start + 32, num_requests))
            numbers = [rng.integers(1, [30, 25, 12]).tolist() for _ in asked]
            tasks = [asyncio.create_task(one(*some)) for some in numbers]
            for task in tasks[::5]:
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert set(ended) <= {None, "length"}
    _wait_until(lambda: _is_empty(engine))


def test_no_page_is_lost_by_requests_that_nobody_waits_for():
    changed = small_engine.Changed(num_pages=16)
    with small_engine.engine(changed) as engine:
        _ask_and_leave(engine, 200)
        stats = engine.stats()
        assert stats["failed"] == 0
        assert (
            stats["cancelled"] > 0
        )  # how many, and preemptions, depend on the threads
        assert engine.failure is None


@pytest.mark.slow
def test_memory_is_flat_over_very_many_requests():
    changed = small_engine.Changed(num_pages=16)
    with small_engine.engine(changed) as engine:
        _ask_and_leave(engine, 1000)
        before = _resident_bytes()
        _ask_and_leave(engine, 2000)
        assert _resident_bytes() - before < 4e6


def _resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
