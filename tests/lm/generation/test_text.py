"""Texts and conversations: generators, scores, and talks in the terminal."""

from __future__ import annotations

import dataclasses
import io

import jax
import numpy as np
import pytest

from kauldron import kd
from tests.lm import small_model

MODEL = small_model.model()
_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


@pytest.fixture(scope="module")
def generator():
    tokenizer = dataclasses.replace(small_model.tokenizer(), chat_template=_TEMPLATE)
    return kd.lm.TextGenerator(
        model=MODEL,
        params=small_model.params(MODEL),
        tokenizer=tokenizer,
        context_length=64,
    )


def test_the_pieces_of_a_stream_are_the_text(generator):
    (text,) = generator(["To be"], max_tokens=14)
    pieces = list(generator.stream("To be", max_tokens=14))
    assert "".join(pieces) == text
    assert len(pieces) > 1


def test_a_tokenizer_with_more_tokens_than_the_model_is_told(generator):
    model = small_model.model(vocab_size=200)
    with pytest.raises(kd.lm.TokenizerError, match="embeddings for 200 tokens"):
        dataclasses.replace(generator, model=model)


def test_a_model_without_a_template_answers_no_conversation(generator):
    plain = dataclasses.replace(generator, tokenizer=small_model.tokenizer())
    with pytest.raises(kd.lm.ChatTemplateError, match="no chat template"):
        plain([[{"role": "user", "content": "Hi"}]])


def test_a_talk_forgets_its_oldest_turns_and_says_so(generator):
    lines = iter(["To be or not", "fox fox fox", "jumps over", "/quit"])
    out = io.StringIO()
    messages = kd.lm.talk(
        generator, system="Be", max_tokens=16, ask=lambda _: next(lines), out=out
    )
    assert messages[0] == {"role": "system", "content": "Be"}
    assert "oldest turn is forgotten" in out.getvalue()
    assert messages[-2] == {"role": "user", "content": "jumps over"}
    assert len(messages) < 7


def test_a_message_without_room_is_told(generator):
    with pytest.raises(kd.lm.PromptError, match="has room for 64"):
        kd.lm.talk(generator, ask=lambda _: "To be " * 40, out=io.StringIO())


def test_each_token_is_scored_once_with_what_its_window_holds(generator):
    tokens = np.random.default_rng(0).integers(300, size=40)
    apply = jax.jit(MODEL.apply)

    def logprob(start, stop):
        """Returns that of token `stop`, after those from `start`."""
        row = np.zeros((1, 17), np.int32)
        row[0, : stop - start] = tokens[start:stop]
        logits = apply({"params": generator.params}, row)["logits"][0, stop - start - 1]
        logits = np.asarray(logits, np.float64)
        return logits[tokens[stop]] - np.log(np.exp(logits).sum())

    # Windows of 16 begin at 0, 6, 12, ...; each predicts what is new in it.
    expected = [logprob(0, i) for i in range(1, 17)]
    for start in (6, 12, 18, 24):
        new = range(start + 11, min(start + 17, 40))
        expected += [logprob(start, i) for i in new]
    found = kd.lm.token_logprobs(MODEL, generator.params, tokens, window=16, stride=6)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_perplexity_and_bits_per_byte_follow_from_the_sum():
    score = kd.lm.TextScore(num_tokens=10, num_bytes=50, nats=10 * np.log(8))
    assert score.perplexity == pytest.approx(8)
    # 10 tokens of 3 bits each, for 50 bytes.
    assert score.bits_per_byte == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        ([1], {}, "two tokens at least"),
        ([1, 2], {"stride": 9, "window": 8}, "stride=9, window=8"),
        ([1, 999], {}, "token 999"),
    ],
)
def test_what_cannot_be_scored_is_told(generator, tokens, options, message):
    with pytest.raises(kd.lm.PromptError, match=message):
        kd.lm.token_logprobs(MODEL, generator.params, tokens, **options)
