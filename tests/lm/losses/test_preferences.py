"""Preference losses: hand-worked pairs, and what the variants have in common."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd

MASKS = {
    "chosen_mask": np.array([[0.0, 1, 1], [0, 1, 0]], np.float32),
    "rejected_mask": np.array([[0.0, 1], [1, 1]], np.float32),
}
# Sums of what counts: chosen -1.5 and -0.5, rejected -2 and -3.
POLICY = {
    "chosen": np.array([[-np.inf, -1, -0.5], [-9, -0.5, -9]], np.float32),
    "rejected": np.array([[-9, -2.0], [-1, -2]], np.float32),
}
# Sums: chosen -1 and -1, rejected -2 and -2.
REFERENCE = {
    "chosen": np.array([[-9, -0.5, -0.5], [-9, -1, -9]], np.float32),
    "rejected": np.array([[-9, -2.0], [-1, -1]], np.float32),
}
MARGINS = np.array([-0.5, 1.5])


def values(**options):
    loss = kd.lm.DPO(**options)
    reference = None if loss.reference_logps is None else REFERENCE
    return np.asarray(
        loss.get_values(policy_logps=POLICY, reference_logps=reference, **MASKS),
        np.float64,
    )


def _nlog_sigmoid(x):
    return np.log1p(np.exp(-x))


def test_sigmoid_of_the_margin():
    expected = _nlog_sigmoid(0.1 * MARGINS)
    np.testing.assert_allclose(values(), expected, rtol=1e-6)


def test_smoothing_mixes_in_the_pair_the_other_way_around():
    h = 0.5 * MARGINS
    expected = 0.8 * _nlog_sigmoid(h) + 0.2 * _nlog_sigmoid(-h)
    actual = values(beta=0.5, label_smoothing=0.2)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_ipo_pulls_the_margin_to_one_over_two_beta():
    np.testing.assert_allclose(
        values(variant="ipo", beta=0.25), (MARGINS - 2) ** 2, rtol=1e-6
    )


def test_hinge_is_zero_beyond_a_margin_of_one():
    np.testing.assert_allclose(values(variant="hinge", beta=1.0), [1.5, 0], rtol=1e-6)


def test_simpo_compares_means_with_a_margin():
    # Means: chosen -0.75 and -0.5, rejected -2 and -1.5.
    expected = _nlog_sigmoid(2 * np.array([1.25, 1.0]) - 0.5)
    actual = values(variant="simpo", beta=2.0, margin=0.5)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_orpo_compares_odds_and_keeps_the_chosen_answer_likely():
    chosen, rejected = np.exp([-0.75, -0.5]), np.exp([-2, -1.5])
    odds = chosen / (1 - chosen) / (rejected / (1 - rejected))
    expected = -np.log(chosen) + 0.3 * _nlog_sigmoid(np.log(odds))
    actual = values(variant="orpo", beta=0.3)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_the_mean_of_the_tokens_can_be_compared_instead():
    # Means: policy as above, reference -0.5 and -1 against -2 and -1.
    margins = np.array([1.25 - 1.5, 1.0 - 0.0])
    actual = values(reduction="mean")
    np.testing.assert_allclose(actual, _nlog_sigmoid(0.1 * margins), rtol=1e-6)


def test_rewards_margin_and_accuracy():
    metric = kd.lm.PreferenceRewards(beta=2.0)
    state = metric.get_state(policy_logps=POLICY, reference_logps=REFERENCE, **MASKS)
    expected = {"chosen": 0.0, "rejected": -1.0, "margin": 1.0, "accuracy": 0.5}
    assert state.compute() == pytest.approx(expected)


def test_equal_rewards_are_half_right():
    metric = kd.lm.PreferenceRewards()
    state = metric.get_state(policy_logps=POLICY, reference_logps=POLICY, **MASKS)
    assert state.compute()["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "simop"}, "Did you mean 'simpo'"),
        ({"beta": 0.0}, "`beta` of DPO must be > 0"),
        ({"label_smoothing": 0.6}, r"in \[0, 0.5\]"),
        ({"reference_logps": None}, "compares with a reference model"),
    ],
)
def test_options_that_make_no_sense_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        kd.lm.DPO(**options)


def test_predictions_of_one_answer_only_are_told():
    with pytest.raises(ValueError, match="both answers"):
        kd.lm.DPO().get_values(
            policy_logps={"chosen": POLICY["chosen"]},
            reference_logps=REFERENCE,
            **MASKS,
        )
