"""Rewards of answers, by hand-worked numbers."""

from __future__ import annotations

import dataclasses
import math

import flax.linen as nn
import jax
import numpy as np
import pytest

from kauldron import kd, kontext
from kauldron.rl import _rewards
from tests.lm import small_model


def answer(text, num_tokens=None, **element):
    return kd.rl.Answer(
        prompt="The quick", text=text, element=element, num_tokens=num_tokens
    )


@pytest.mark.parametrize(
    ("reward", "answers", "expected"),
    [
        (
            kd.rl.MatchReward(target="sum", pattern=r"\d+"),
            [
                answer("3 + 4 = 7", sum="7"),
                answer("7 + 1", sum="7"),
                answer("", sum="7"),
            ],
            [1, 0, 0],
        ),
        (
            kd.rl.RegexReward(pattern=r"\d+"),
            [answer(" 42 "), answer("it is 42"), answer("")],
            [1, 0, 0],
        ),
        (
            kd.rl.RegexReward(pattern=r"\d+", is_whole=False),
            [answer("it is 42"), answer("it is")],
            [1, 0],
        ),
        (
            kd.rl.FormatReward(
                instructions=[{"kind": "max_words", "number": 2}, {"kind": "no_commas"}]
            ),
            [answer("so it is"), answer("so, it is"), answer("yes"), answer("")],
            [0.5, 0, 1, 0],
        ),
        (
            kd.rl.LengthReward(at_least=2, at_most=4, slope=4),
            [answer("", n) for n in (0, 1, 2, 4, 5, 7, 8, 99)],
            [0.5, 0.75, 1, 1, 0.75, 0.25, 0, 0],
        ),
        (
            kd.rl.FunctionReward(
                function=lambda text, element: len(text) * element["x"]
            ),
            [answer("ab", x=0.5), answer("abc", x=2)],
            [1, 6],
        ),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, kd.rl.Reward) else "",
)
def test_a_reward_gives_a_number_for_each_answer(reward, answers, expected):
    np.testing.assert_allclose(reward.values(answers), expected)


def test_rewards_are_summed_by_their_weights():
    rewards = {
        "digits": kd.rl.RegexReward(pattern=r"\d+", weight=0.5),
        "long": kd.rl.FunctionReward(function=lambda text, _: len(text), weight=-0.1),
    }
    found = _rewards.measure(rewards, [answer("12"), answer("one")])
    np.testing.assert_allclose(found["digits"], [1, 0])
    np.testing.assert_allclose(found["long"], [2, 3])
    np.testing.assert_allclose(found["total"], [0.5 - 0.2, -0.3], rtol=1e-6)


def test_rewards_are_a_metric_of_written_texts():
    metric = kd.rl.MeanReward(
        rewards={"match": kd.rl.MatchReward(target="answer", weight=2.0)}
    )
    first = metric.get_state(["a", "b"], {"answer": ["a", "a"], "prompt": ["x", "y"]})
    second = metric.get_state(["c"], {"answer": ["c"], "prompt": ["z"]})
    found = first.merge(second).compute()
    assert {k: pytest.approx(v) for k, v in found.items()} == {
        "match": 2 / 3,
        "total": 4 / 3,
    }


class _CountsTokens(nn.Module):
    """Logits that favour class 1 by the number of tokens of a row."""

    segment_ids: kontext.Key = "batch.segment_ids"

    @nn.compact
    def __call__(self, segment_ids):
        per_token = self.param("per_token", nn.initializers.ones, ())
        count = per_token * segment_ids.sum(axis=-1)
        return {"logits": np.stack([0, 1]) * count[:, None], "number": count}


def test_a_classifier_gives_the_probability_of_a_class_or_its_number():
    tokenizer = small_model.tokenizer()
    reward = kd.rl.ClassifierReward(
        model=_CountsTokens(),
        params={"per_token": np.float32(0.5)},
        tokenizer=tokenizer,
        key="preds.logits",
        length=32,
    )
    answers = [answer(""), answer(" brown fox")]
    counts = [len(tokenizer.encode("The quick")), 0]
    counts[1] = counts[0] + len(tokenizer.encode(" brown fox"))
    expected = [1 / (1 + math.exp(-n / 2)) for n in counts]
    np.testing.assert_allclose(reward.values(answers), expected, rtol=1e-5)
    number = dataclasses.replace(reward, key="preds.number")
    np.testing.assert_allclose(number.values(answers), np.array(counts) / 2)


def test_a_judge_gives_the_mean_log_probability_of_the_answer_after_the_prompt():
    model, tokenizer = small_model.model(), small_model.tokenizer()
    params = small_model.params(model)
    judge = kd.lm.TextGenerator(model=model, params=params, tokenizer=tokenizer)
    prompt, text = tokenizer.encode("The quick"), tokenizer.encode(" dog")
    tokens = np.concatenate([prompt, text])
    outputs = jax.jit(model.apply)({"params": params}, tokens[None])
    logits = np.asarray(outputs["logits"][0])
    logprobs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    # A token is predicted at the place before it.
    of_answer = logprobs[np.arange(len(prompt) - 1, len(tokens) - 1), text]
    reward = kd.rl.LikelihoodReward(judge=judge, window=16)
    found = reward.values([answer(" dog"), answer("")])
    expected = [of_answer.mean(), -math.log(model.vocab_size)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kd.rl.MeanReward(rewards={}), "must be a dict of rewards"),
        (lambda: kd.rl.MeanReward(rewards={"x": len}), "FunctionReward"),
        (
            lambda: kd.rl.MeanReward(rewards={"total": kd.rl.RegexReward(pattern="a")}),
            "name that is taken",
        ),
        (lambda: kd.rl.RegexReward(pattern="("), "no regular expression"),
        (lambda: kd.rl.FormatReward(instructions=[]), "is empty"),
        (
            lambda: kd.rl.FormatReward(instructions=[{"kind": "jsn"}]),
            "Did you mean 'json'",
        ),
        (lambda: kd.rl.LengthReward(at_least=3, at_most=2), "at_least <= at_most"),
        (
            lambda: kd.rl.LengthReward().values([answer("a")]),
            "only the text of this answer is known",
        ),
        (
            lambda: kd.rl.MatchReward(target="sums").values([answer("a", sum="1")]),
            "Did you mean 'sum'",
        ),
    ],
)
def test_a_reward_that_cannot_be_given_is_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("values", "message"),
    [([1.0], "a number for each answer"), ([1.0, math.nan], "must be finite")],
)
def test_values_that_are_no_rewards_are_told_by_name(values, message):
    class Odd(kd.rl.Reward):
        def values(self, answers):
            return values

    with pytest.raises(kd.rl.RewardError, match=f"(?s)'odd'.*{message}"):
        _rewards.measure({"odd": Odd()}, [answer("a"), answer("b")])
