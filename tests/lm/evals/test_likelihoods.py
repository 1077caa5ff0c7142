"""Perplexity, bits per byte and multiple choice: by likelihoods, against NumPy."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import special

from kauldron import kd

_rng = np.random.default_rng(0)
LOGITS = _rng.normal(size=(2, 3, 4, 9)).astype(np.float32)
TARGETS = _rng.integers(9, size=(2, 3, 4))
MASK = np.array([[0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 1, 1]], np.float32)
MASK = np.broadcast_to(MASK, TARGETS.shape)
LOGPS = np.take_along_axis(
    special.log_softmax(LOGITS.astype(np.float64), -1), TARGETS[..., None], -1
)[..., 0]


def test_perplexity_and_bits_per_byte_of_tokens_that_count():
    keys = {"logits": "l", "targets": "t"}
    nats = -(LOGPS * MASK).sum() / MASK.sum()
    given = {"logits": LOGITS, "targets": TARGETS, "mask": MASK}
    perplexity = jax.jit(kd.lm.TokenPerplexity(**keys).get_state)(**given).compute()
    assert perplexity == pytest.approx(np.exp(nats), rel=1e-5)
    bits = kd.lm.TokenBitsPerByte(**keys, bytes_per_token=3.5)
    expected = nats / np.log(2) / 3.5
    assert jax.jit(bits.get_state)(**given).compute() == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("normalize", ["none", "tokens", "bytes"])
def test_the_likeliest_choice_by_each_normalization(normalize):
    num_bytes = np.array([[9, 2, 30], [1, 8, 8]], np.int32)
    scores = (LOGPS * MASK).sum(-1)
    if normalize == "tokens":
        scores /= MASK.sum(-1)
    elif normalize == "bytes":
        scores /= num_bytes
    answer = scores.argmax(-1).astype(np.int32)
    answer[1] = (answer[1] + 1) % 3
    metric = kd.lm.MultipleChoice(normalize=normalize, num_bytes="n")
    state = jax.jit(metric.get_state)(
        LOGITS, TARGETS, MASK, answer, num_bytes=num_bytes
    )
    assert state.compute() == 0.5


def test_options_that_make_no_sense_are_told():
    with pytest.raises(ValueError, match="set its key"):
        kd.lm.MultipleChoice(normalize="bytes")
    with pytest.raises(ValueError, match="must be one of"):
        kd.lm.MultipleChoice(normalize="words")
    with pytest.raises(ValueError, match="must be positive"):
        kd.lm.TokenBitsPerByte(logits="l", targets="t", bytes_per_token=0)


@pytest.fixture(scope="module")
def tokenizer():
    return kd.lm.Tokenizer.train(["the capital of France is Paris"] * 3, 280)


def test_choices_become_rows_whose_mask_is_on_the_choice(tokenizer):
    transform = kd.lm.ChoicesToTokens(tokenizer=tokenizer, num_choices=2, length=40)
    element = {"prompt": "the capital", "choices": [" of Oz", " is é"], "answer": 1}
    rows = transform.map(element)
    assert rows["tokens"].shape == rows["loss_mask"].shape == (2, 40)
    assert rows["answer"] == 1
    assert rows["num_bytes"].tolist() == [6, 6]
    for row, choice in enumerate(element["choices"]):
        is_choice = rows["loss_mask"][row] > 0
        assert tokenizer.decode(rows["targets"][row][is_choice]) == choice
        num = int(rows["segment_ids"][row].sum())
        whole = [rows["tokens"][row][0], *rows["targets"][row][:num]]
        assert tokenizer.decode(whole) == element["prompt"] + choice


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choices": [" a"]}, "`num_choices` is 2, an element has 1"),
        ({"prompt": "x" * 100}, "a row has room for 2 to 41"),
    ],
)
def test_elements_that_do_not_fit_are_told(tokenizer, change, message):
    transform = kd.lm.ChoicesToTokens(tokenizer=tokenizer, num_choices=2, length=40)
    element = {"prompt": "the", "choices": [" a", " b"], "answer": 0, **change}
    with pytest.raises(ValueError, match=message):
        transform.map(element)
