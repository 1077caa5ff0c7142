"""The distribution of the next token is that of a plain computation in f64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from kauldron import kd
from kauldron.serve.device import _rows, _sampling

VOCAB = 45
PROMPT, ANSWER = [3, 7, 7, 11], [5, 7, 5, 5, 20]
ALLOWED = (np.arange(VOCAB) % 3 != 1).nonzero()[0]
Params = kd.serve.SamplingParams
# Quarters, so that several tokens are equally likely.
LOGITS = np.round(4 * np.random.default_rng(0).normal(0, 2, VOCAB)) / 4

CASES = {
    "the model's own": Params(),
    "temperature": Params(temperature=0.6),
    "top-k": Params(top_k=7),
    "one": Params(top_k=1),
    "top-p": Params(top_p=0.7),
    "a tiny top-p": Params(top_p=1e-6),
    "min-p": Params(min_p=0.2),
    "typical": Params(typical_p=0.6),
    "all cuts": Params(
        temperature=1.7, top_k=30, top_p=0.95, min_p=0.02, typical_p=0.9
    ),
    "repetition": Params(repetition_penalty=1.8),
    "frequency": Params(frequency_penalty=0.7),
    "presence": Params(presence_penalty=-1.1),
    "bias": Params(logit_bias={4: 3.0, 20: -100.0, 44: 1.5}),
    "everything": Params(
        temperature=0.8,
        top_k=20,
        top_p=0.9,
        min_p=0.01,
        typical_p=0.95,
        repetition_penalty=1.2,
        frequency_penalty=0.3,
        presence_penalty=0.2,
        logit_bias={0: 2.5, 9: -1.0},
    ),
}


def _softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def _first_until(order, probs, target):
    """Returns the tokens of an order until they have a probability together."""
    reached = np.searchsorted(np.cumsum(probs[order]), target)
    return order[: reached + 1]


def _only(logits, tokens):
    left = np.full(VOCAB, -np.inf)
    left[tokens] = logits[tokens]
    return left


def expected_probs(params, is_masked):
    """Returns the probabilities of `SamplingParams`, step by step with sorts."""
    logits = LOGITS.astype(np.float64)
    counts = np.bincount(ANSWER, minlength=VOCAB)
    for token in {*PROMPT, *ANSWER}:
        factor = params.repetition_penalty
        logits[token] *= 1 / factor if logits[token] > 0 else factor
    logits = logits - params.frequency_penalty * counts
    logits = logits - params.presence_penalty * (counts > 0)
    for token, bias in params.logit_bias.items():
        logits[token] += bias
    if is_masked:
        logits = _only(logits, ALLOWED)
    logits = logits / params.temperature
    if params.top_k is not None:
        order = np.argsort(-logits, kind="stable")
        logits = _only(logits, order[: params.top_k])
    if params.top_p < 1:
        order = np.argsort(-logits, kind="stable")
        logits = _only(logits, _first_until(order, _softmax(logits), params.top_p))
    if params.min_p > 0:
        probs = _softmax(logits)
        logits = np.where(probs >= params.min_p * probs.max(), logits, -np.inf)
    if params.typical_p < 1:
        probs = _softmax(logits)
        surprise = -np.log(np.where(probs > 0, probs, 1))
        distance = np.abs(surprise - (probs * surprise).sum())
        order = np.argsort(np.where(probs > 0, distance, np.inf), kind="stable")
        logits = _only(logits, _first_until(order, probs, params.typical_p))
    return _softmax(logits)


def _rows_of(params, num_rows, *, is_masked=False):
    """Returns rows that all ask for the same, with seeds from 0 on."""
    words = np.zeros(-(-VOCAB // 32), np.uint32)
    np.bitwise_or.at(words, ALLOWED // 32, np.uint32(1) << (ALLOWED % 32))
    one = _rows.RowParams.neutral(1, vocab_size=VOCAB, max_bias=5)
    one.put(0, params, allowed=words if is_masked else None)
    rows = jax.tree.map(lambda x: np.repeat(x, num_rows, axis=0), one)
    rows.seeds[:] = np.arange(num_rows)
    return rows


def _history(num_rows):
    in_prompt = np.zeros((num_rows, VOCAB), bool)
    in_prompt[:, PROMPT] = True
    counts = np.bincount(ANSWER, minlength=VOCAB).astype(np.int32)
    return _sampling.History(in_prompt, np.tile(counts, (num_rows, 1)))


@jax.jit
def _choose(logits, rows, history, index):
    return _sampling.choose(logits, rows, history, index, max_top=4)


def _chosen(params, num_rows, *, is_masked=False, index=0):
    return _choose(
        np.tile(LOGITS.astype(np.float32), (num_rows, 1)),
        _rows_of(params, num_rows, is_masked=is_masked),
        _history(num_rows),
        np.full(num_rows, index, np.int32),
    )


@pytest.mark.parametrize("is_masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("name", CASES)
def test_tokens_and_log_probabilities_are_those_of_the_distribution(name, is_masked):
    probs = expected_probs(CASES[name], is_masked)
    choice = _chosen(CASES[name], 2000, is_masked=is_masked)
    tokens = np.asarray(choice.tokens)
    np.testing.assert_allclose(np.exp(choice.drawn_logprobs), probs[tokens], rtol=2e-5)
    # Before penalties and cuts.
    np.testing.assert_allclose(
        np.exp(choice.logprobs), _softmax(LOGITS)[tokens], rtol=2e-5
    )
    # A token of more than 1 % that is never drawn of 2000 would be a wonder (e**-20).
    assert set(tokens) >= set(np.flatnonzero(probs > 0.01))


@pytest.mark.parametrize("name", ["the model's own", "everything"])
def test_fifty_thousand_draws_have_the_frequencies_of_the_distribution(name):
    probs = expected_probs(CASES[name], is_masked=True)
    choice = _chosen(CASES[name], 50_000, is_masked=True, index=3)
    found = np.bincount(choice.tokens, minlength=VOCAB)
    assert not found[probs == 0].any()
    is_some = probs > 0
    result = scipy.stats.chisquare(found[is_some], 50_000 * probs[is_some])
    assert result.pvalue > 1e-3


@pytest.mark.parametrize("name", ["the model's own", "everything"])
def test_temperature_zero_takes_the_likeliest_after_penalties_bias_and_mask(name):
    params = CASES[name]
    greedy = kd.serve.SamplingParams(
        temperature=0,
        repetition_penalty=params.repetition_penalty,
        frequency_penalty=params.frequency_penalty,
        presence_penalty=params.presence_penalty,
        logit_bias=params.logit_bias,
    )
    choice = _chosen(greedy, 1, is_masked=True)
    likeliest = expected_probs(params, is_masked=True).argmax()
    assert choice.tokens.tolist() == [likeliest]
    assert choice.drawn_logprobs.tolist() == [0]


def test_the_likeliest_tokens_are_told_if_a_row_asks_for_them():
    asked = _chosen(kd.serve.SamplingParams(logprobs=4), 1)
    order = np.argsort(-LOGITS, kind="stable")[:4]
    assert asked.top_tokens[0].tolist() == order.tolist()
    np.testing.assert_allclose(
        np.exp(asked.top_logprobs[0]), _softmax(LOGITS)[order], rtol=1e-5
    )
    assert _chosen(Params(), 1).top_tokens.tolist() == [[-1] * 4]


def test_a_draw_is_a_function_of_row_seed_and_index():
    many = _chosen(Params(), 2000, index=3)
    rows = jax.tree.map(lambda x: x[40:41], _rows_of(Params(), 2000))
    logits, history = LOGITS[None].astype(np.float32), _history(1)
    alone = _choose(logits, rows, history, np.full(1, 3, np.int32))
    assert alone.tokens[0] == many.tokens[40]
    other = _chosen(Params(), 2000, index=4)
    assert (other.tokens != many.tokens).mean() > 0.5


def test_draws_from_logits_in_bf16_are_those_of_f32():
    """Noise in bf16 would never reach most of a thousand equally likely tokens."""
    drawn = kd.lm.draw_tokens(
        jnp.zeros((20_000, 1000), jnp.bfloat16),
        jnp.arange(20_000, dtype=jnp.uint32),
        jnp.int32(0),
    )
    found = np.bincount(drawn, minlength=1000)
    assert scipy.stats.chisquare(found).pvalue > 1e-3
