"""How good the demo's model becomes; minutes, so not part of the fast tests."""

from __future__ import annotations

import numpy as np
import pytest

from examples import demo, digits_classifier, digits_data
from kauldron import kd, konfig
from tests.smoke import test_examples

pytestmark = pytest.mark.slow


def _accuracy_by_hand(trainer, state):
    """Recomputed without the evaluator, in batches of 77 that don't divide 360."""
    digits = digits_data.Digits(split="test")
    images, labels = digits._arrays
    right = 0
    for start in range(0, len(digits), 77):
        batch = images[start : start + 77].astype(np.float32) / 16
        with kd.nn.set_train_property(False):
            preds = trainer.model.apply({"params": state.params}, batch)
        guesses = np.argmax(preds["logits"], -1)
        right += np.sum(guesses == labels[start : start + 77])
    return right / len(digits)


def test_mean_accuracy_over_three_seeds_beats_logistic_regression(tmp_path):
    accuracies = []
    for seed in range(3):
        cfg = digits_classifier.get_config()
        cfg.seed = seed
        cfg.workdir = str(tmp_path / str(seed))
        trainer = konfig.resolve(cfg)
        state, _ = trainer.train()
        accuracies.append(_accuracy_by_hand(trainer, state))
        reported = demo.held_out_accuracy(tmp_path / str(seed))
        np.testing.assert_allclose(reported, accuracies[-1], rtol=1e-6)
    print("accuracies", accuracies, "logistic regression", demo.logistic_regression())
    assert np.mean(accuracies) >= 0.97
    assert np.mean(accuracies) > demo.logistic_regression()


@pytest.mark.timeout(1800)
def test_fashion_mnist_reaches_its_accuracy(tmp_path):
    cfg = konfig.load_config_file(test_examples.ROOT / "configs" / "fashion_mnist.py")
    kd.data.fetch("fashion_mnist")  # 30 MB, the first time
    cfg.workdir = str(tmp_path)
    konfig.resolve(cfg).train()
    assert demo.held_out_accuracy(tmp_path) >= 0.90
