"""GRPO: hand-worked tokens, aggregations, estimators of KL, advantages of groups."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kauldron import kd

OLD = np.log(np.full((2, 3), 0.5, np.float32))
# Ratios 1, 2, 0.5 in both answers; the last token of the second is masked.
LOGPS = (OLD + np.log([[1.0, 2.0, 0.5]])).astype(np.float32)
ADVANTAGES = np.array([1.0, -1.0], np.float32)
MASK = np.array([[1, 1, 1], [1, 1, 0]], np.float32)
# Gains of the first answer are clipped at 1.2, losses of the second not at all.
TOKENS = np.array([[-1, -1.2, -0.5], [1, 2, 0]])


def value(**options):
    loss = kd.lm.GRPO(**options)
    get_state = jax.jit(lambda *args: loss.get_state(*args, mask=MASK))
    return float(get_state(LOGPS, OLD, ADVANTAGES).compute())


def test_every_token_counts_alike():
    assert value() == pytest.approx(TOKENS.sum() / 5, rel=1e-6)


def test_every_answer_counts_alike():
    expected = (TOKENS[0].mean() + TOKENS[1, :2].mean()) / 2
    assert value(aggregation="sequence") == pytest.approx(expected, rel=1e-6)


def test_answers_are_divided_by_a_constant():
    expected = (TOKENS[0].sum() / 10 + TOKENS[1].sum() / 10) / 2
    actual = value(aggregation="constant", max_tokens=10)
    assert actual == pytest.approx(expected, rel=1e-6)


def test_a_higher_upper_bound_clips_later():
    expected = (TOKENS.sum() - 0.3) / 5
    assert value(clip_high=0.5) == pytest.approx(expected, rel=1e-6)


def test_the_ratio_of_an_answer_is_the_geometric_mean_of_its_tokens():
    # Answer 1: (1 * 2 * 0.5)**(1/3) = 1; answer 2: (1 * 2)**(1/2), for a loss.
    expected = (3 * -1 + 2 * np.sqrt(2)) / 5
    assert value(ratio="sequence") == pytest.approx(expected, rel=1e-6)

    loss = kd.lm.GRPO(ratio="sequence", clip_high=1.0)
    grad = jax.grad(
        lambda x: loss(logps=x, old_logps=OLD, advantages=ADVANTAGES, mask=MASK)
    )
    expected = [[-1 / 5] * 3, [np.sqrt(2) / 5, np.sqrt(2) / 5, 0]]
    np.testing.assert_allclose(grad(LOGPS), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("kl", "expected"),
    [("k1", np.log(4)), ("k2", np.log(4) ** 2 / 2), ("k3", 0.25 + np.log(4) - 1)],
)
def test_estimators_of_the_distance_to_the_reference(kl, expected):
    # One token, twice as likely as under the sampler and four times as under the reference.
    logps, old = np.log([[0.8]]), np.log([[0.4]])
    reference = np.log([[0.2]])
    loss = kd.lm.GRPO(kl=kl, kl_coef=0.5, reference_logps="r")
    tokens = loss.get_values(
        logps=logps.astype(np.float32),
        old_logps=old.astype(np.float32),
        advantages=np.zeros(1, np.float32),
        reference_logps=reference.astype(np.float32),
    )
    np.testing.assert_allclose(tokens, [[0.5 * expected]], rtol=1e-5)


def test_a_masked_answer_of_nan_has_no_gradient():
    spoilt = LOGPS.copy()
    spoilt[1] = np.nan
    mask = MASK * [[1], [0]]
    for aggregation in ("token", "sequence"):
        loss = kd.lm.GRPO(aggregation=aggregation)
        grad = jax.grad(
            lambda x, loss=loss: loss(
                logps=x, old_logps=OLD, advantages=np.array([1, np.nan]), mask=mask
            )
        )(spoilt)
        assert np.isfinite(grad).all()
        assert np.asarray(grad)[0].any()


def test_advantages_of_a_group_in_both_conventions():
    rewards = np.array([[0.0, 0, 1, 1], [2, 2, 2, 2]])
    for ddof, std in ((0, 0.5), (1, np.sqrt(1 / 3))):
        first = np.array([-0.5, -0.5, 0.5, 0.5]) / (std + 1e-4)
        actual = kd.lm.group_advantages(rewards, ddof=ddof)
        np.testing.assert_allclose(actual, [first, np.zeros(4)], rtol=1e-6)
    centred = kd.lm.group_advantages(rewards, divides_by_std=False)
    np.testing.assert_allclose(centred[0], [-0.5, -0.5, 0.5, 0.5])


def test_a_group_of_one_is_told():
    with pytest.raises(ValueError, match="Sample two answers"):
        kd.lm.group_advantages(np.zeros((4, 1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl_coef": 0.1}, "needs a reference model"),
        ({"aggregation": "constant"}, "`max_tokens` of GRPO"),
        ({"aggregation": "tokens"}, "Did you mean 'token'"),
        ({"kl": "k4"}, "must be one of"),
        ({"clip_low": 2.0}, "clip_low"),
    ],
)
def test_options_that_make_no_sense_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        kd.lm.GRPO(**options)


def test_advantages_of_another_shape_are_told():
    with pytest.raises(ValueError, match="an advantage for each answer"):
        kd.lm.GRPO().get_state(LOGPS, OLD, np.zeros(3), mask=MASK)
