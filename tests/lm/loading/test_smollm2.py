"""SmolLM2: what it says is what NumPy computes in f64."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kauldron import kd
from tests.lm.loading import make_smollm2

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected():
    return json.loads(make_smollm2.FIXTURE.read_text())


@pytest.fixture(scope="module")
def generator():
    return kd.lm.text_generator("smollm2")


def test_five_prompts_go_on_with_the_64_tokens_of_numpy(generator, expected):
    prompts = [row["prompt_tokens"] for row in expected["rows"]]
    found = kd.lm.generate(
        generator.model, generator.params, prompts, max_tokens=make_smollm2.NUM_TOKENS
    )
    for row, made in zip(expected["rows"], found, strict=True):
        assert made.tokens.tolist() == row["tokens"]
        tokens = generator.tokenizer.encode(row["prompt"])
        assert tokens.tolist() == row["prompt_tokens"]


def test_perplexity_of_a_text_is_that_of_numpy(generator, expected):
    found = kd.lm.score(generator, make_smollm2.TEXT)
    assert found.num_tokens == expected["text"]["num_tokens"] - 1
    perplexity = np.exp(expected["text"]["nats"] / found.num_tokens)
    assert found.perplexity == pytest.approx(perplexity, rel=1e-3)


def test_the_capital_of_france(generator):
    question = [{"role": "user", "content": "What is the capital of France?"}]
    assert generator([question], max_tokens=16) == ["The capital of France is Paris."]
