"""Language model examples at length, with the data and the model that they fetch."""

from __future__ import annotations

import sys

import pytest

from examples import shakespeare_data
from tests.smoke import test_examples, test_lm_examples

# Up to ten minutes of two cores each.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def train_at_length(example, tmp_path):
    """Runs an example as it is, with the data and the model that it fetches."""
    config = f"--cfg=examples/{example}.py"
    command = [sys.executable, "-m", "kauldron.main", config]
    result = test_examples.run([*command, f"--cfg.workdir={tmp_path}"])
    assert result.returncode == 0, result.stderr
    return test_lm_examples.read(tmp_path)


def test_pretraining_beats_gzip_bz2_and_an_ngram_model(tmp_path):
    records = train_at_length("lm_pretrain", tmp_path)
    bits = records["plays", 600]["metrics/bits_per_byte"]
    assert bits < min(shakespeare_data.baselines().values())


def test_tuning_lowers_the_loss_of_held_out_answers_by_a_fifth(tmp_path):
    records = train_at_length("lm_sft", tmp_path)
    before, after = (records["answers", step]["losses/nats"] for step in (0, 120))
    assert after <= 0.8 * before


def test_smollm2_learns_what_is_preferred(tmp_path):
    records = train_at_length("lm_dpo", tmp_path)
    before, after = (
        records["pairs", step]["metrics/rewards/accuracy"] for step in (0, 40)
    )
    assert before == 0.5
    assert after >= 0.9
