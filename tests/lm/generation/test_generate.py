"""Generation: what the compiled loop makes is what the whole forward pass says."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.lm.generation import _decoding
from tests.lm import small_model

PROMPTS = [[5, 9, 200], [17], list(range(40, 51))]
MODEL = small_model.model()


@pytest.fixture(scope="module")
def params():
    return small_model.params(MODEL)


@pytest.fixture(scope="module")
def logits_of(params):
    """Returns logits after a row of tokens, from the forward pass without a cache."""
    apply = jax.jit(lambda tokens: MODEL.apply({"params": params}, tokens)["logits"])

    def logits_of(tokens):
        row = np.zeros((1, 32), np.int32)  # what follows is not seen
        row[0, : len(tokens)] = tokens
        return np.asarray(apply(row)[0, len(tokens) - 1], np.float64)

    return logits_of


def _greedy(logits_of, prompt, num_tokens):
    tokens, logprobs = list(prompt), []
    for _ in range(num_tokens):
        logits = logits_of(tokens)
        tokens.append(int(logits.argmax()))
        logprobs.append(logits.max() - np.log(np.exp(logits).sum()))
    return tokens[len(prompt) :], logprobs


def test_rows_of_unequal_length_continue_as_each_does_in_the_whole_forward_pass(
    params, logits_of
):
    found = kd.lm.generate(MODEL, params, PROMPTS, max_tokens=9)
    for prompt, row in zip(PROMPTS, found, strict=True):
        tokens, logprobs = _greedy(logits_of, prompt, 9)
        assert row.tokens.tolist() == tokens
        np.testing.assert_allclose(row.logprobs, logprobs, atol=1e-4)
        assert row.finish_reason == "length"
    assert len({t for row in found for t in row.tokens.tolist()}) > 5


def test_a_second_call_of_other_lengths_temperatures_and_seeds_compiles_nothing(params):
    draw = functools.partial(kd.lm.Sampling, temperature=1.0)
    kd.lm.generate(MODEL, params, PROMPTS, max_tokens=9)
    kd.lm.generate(MODEL, params, PROMPTS, max_tokens=9, sampling=draw(top_k=5))
    programs: Any = (_decoding.prefill, _decoding.decode)
    num_compiled = [program._cache_size() for program in programs]
    others = [[1, 2], [3, 4, 5, 6], [7]]
    kd.lm.generate(MODEL, params, others, max_tokens=12, stop_ids=[3, 4])
    kd.lm.generate(
        *(MODEL, params, others),
        max_tokens=2,
        sampling=draw(temperature=0.3, top_k=9),
        seeds=[4, 5, 6],
    )
    assert [program._cache_size() for program in programs] == num_compiled


def test_a_stop_token_ends_its_row_alone_and_is_not_returned(params):
    first, second, third = kd.lm.generate(MODEL, params, PROMPTS, max_tokens=9)
    stop = int(first.tokens[3])
    end = first.tokens.tolist().index(stop)
    found = kd.lm.generate(MODEL, params, PROMPTS, max_tokens=9, stop_ids=[stop])
    assert found[0].tokens.tolist() == first.tokens[:end].tolist()
    assert found[0].finish_reason == "stop"
    assert len(found[0].logprobs) == end
    for before, after in ((second, found[1]), (third, found[2])):
        tokens = before.tokens.tolist()
        cut = tokens.index(stop) if stop in tokens else len(tokens)
        assert after.tokens.tolist() == tokens[:cut]


def test_a_row_depends_on_its_prompt_and_seed_alone(params):
    sampling = kd.lm.Sampling(temperature=1.5)
    together = kd.lm.generate(
        MODEL, params, PROMPTS, max_tokens=9, sampling=sampling, seeds=[7, 8, 9]
    )
    swapped = kd.lm.generate(
        MODEL, params, PROMPTS[::-1], max_tokens=9, sampling=sampling, seeds=[9, 8, 7]
    )
    for row, again in zip(together, swapped[::-1], strict=True):
        assert row.tokens.tolist() == again.tokens.tolist()
    other = kd.lm.generate(
        MODEL, params, PROMPTS, max_tokens=9, sampling=sampling, seeds=100
    )
    assert other[0].tokens.tolist() != together[0].tokens.tolist()


def test_a_stream_yields_the_tokens_of_generate(params):
    (whole,) = kd.lm.generate(MODEL, params, [PROMPTS[2]], max_tokens=9)
    pieces = list(kd.lm.stream(MODEL, params, PROMPTS[2], max_tokens=9, every=2))
    assert pieces == whole.tokens.tolist()


def _numpy_kept(logits, temperature, top_k, top_p):
    """Returns the probabilities of the tokens that may follow, in f64."""
    logits = np.asarray(logits, np.float64) / temperature
    order = np.argsort(-logits, kind="stable")
    kept = order[: top_k or len(order)]
    probs = np.exp(logits[kept] - logits.max())
    probs /= probs.sum()
    if top_p is not None:
        kept = kept[: np.searchsorted(np.cumsum(probs), top_p) + 1]
    result = np.zeros(len(logits))
    result[kept] = np.exp(logits[kept] - logits.max())
    return result / result.sum()


@pytest.mark.parametrize("size", [7, 96, 768])
def test_the_likeliest_token_is_the_first_of_the_largest_logits(size):
    rng = np.random.default_rng(0)
    logits = rng.integers(-3, 3, (6, size)).astype(np.float32)  # many are equal
    logits[0], logits[1, 3:] = -np.inf, -np.inf
    found = kd.lm.likeliest_tokens(logits)
    np.testing.assert_array_equal(found, np.argmax(logits, axis=-1))


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(0.7, None, None), (1.0, 3, None), (2.0, None, 0.6), (1.3, 5, 0.8), (1.0, 1, 0.5)],
)
def test_draws_have_the_frequencies_of_temperature_and_cuts(temperature, top_k, top_p):
    logits = np.array([1.0, 2.5, -1.0, 2.0, 0.0, 1.9, -3.0, 0.3], np.float32)
    expected = _numpy_kept(logits, temperature, top_k, top_p)
    sampling = kd.lm.Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    num_draws = 20_000
    drawn = kd.lm.draw_tokens(
        kd.lm.cut_logits(jnp.broadcast_to(logits, (num_draws, 8)), sampling.cuts(8)),
        jnp.arange(num_draws, dtype=jnp.uint32),
        jnp.int32(0),
    )
    found = np.bincount(drawn, minlength=8) / num_draws
    # Four standard errors of the most uncertain frequency.
    np.testing.assert_allclose(found, expected, atol=4 * 0.5 / num_draws**0.5)
    assert not np.any(found[expected == 0])


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([], {}, "no prompt"),
        ([[1], []], {}, "Prompt 1 is empty.*`bos`"),
        ([[1, 300]], {}, r"Prompt 0 holds the token 300.*knows 0 to 299"),
        ([[-1]], {}, "holds the token -1"),
        ([[0.5]], {}, r"must be a list of token ids: got float64\[1\]"),
        ([[1]], {"max_tokens": 0}, "`max_tokens` must be >= 1: got 0"),
        ([[1], [2] * 9], {"context_length": 16}, "Prompt 1 has 9 tokens, and 8 more"),
        ([[1]], {"seeds": [1, 2]}, "2 seeds for 1 prompts"),
    ],
)
def test_what_cannot_be_generated_is_told_before_compiling(
    params, prompts, options, message
):
    with pytest.raises(kd.lm.PromptError, match=message):
        kd.lm.generate(MODEL, params, prompts, **({"max_tokens": 8} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "`temperature` must be >= 0"),
        ({"top_k": 0}, "`top_k` must be >= 1"),
        ({"top_p": 1.5}, r"`top_p` must be in \(0, 1\]"),
    ],
)
def test_sampling_out_of_range_is_told(options, message):
    with pytest.raises(ValueError, match=message):
        kd.lm.Sampling(**options)
