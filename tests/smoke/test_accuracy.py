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
def test_fashion_mnist_is_as_accurate_as_its_written_predictions_say(tmp_path):
    from sklearn import metrics

    kd.data.fetch("fashion_mnist")  # 30 MB, the first time

    def make(batch_size):
        path = test_examples.ROOT / "configs" / "fashion_mnist.py"
        cfg = konfig.load_config_file(path)
        cfg.workdir = str(tmp_path / "run")
        cfg.eval_ds.batch_size = batch_size
        return konfig.resolve(cfg)

    make(1000).train()
    assert demo.held_out_accuracy(tmp_path / "run") >= 0.90
    for batch_size in (1000, 256, 77):
        out = tmp_path / str(batch_size)
        _, outputs = kd.evals.evaluate_checkpoint(make(batch_size), out=out)
        written = kd.evals.read_outputs(out / "outputs" / "eval")
        guesses = np.argmax(written["preds.logits"], -1)
        labels = written["batch.label"][:, 0]
        assert len(labels) == 10_000
        expected = metrics.accuracy_score(labels, guesses)
        reported = outputs["eval"].metric_values["metrics/accuracy"]
        assert reported == np.float32(expected) or reported == expected


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "config, expected", [("fashion_mnist_resnet", 0.93), ("fashion_mnist_vit", 0.91)]
)
def test_a_network_of_fashion_mnist_is_as_accurate_as_it_says(
    config, expected, tmp_path
):
    from sklearn import metrics

    kd.data.fetch("fashion_mnist")
    path = test_examples.ROOT / "configs" / f"{config}.py"
    cfg = konfig.load_config_file(path)
    cfg.workdir = str(tmp_path / "run")
    trainer = konfig.resolve(cfg)
    state, _ = trainer.train()
    variables = {"params": state.params, **state.collections}
    labels, guesses = [], []
    with kd.nn.set_train_property(False):
        for batch in trainer.eval_ds:
            logits = trainer.model.apply(variables, batch["image"])["logits"]
            guesses.append(np.argmax(logits, -1))
            labels.append(batch["label"][:, 0])
    measured = metrics.accuracy_score(np.concatenate(labels), np.concatenate(guesses))
    assert len(np.concatenate(labels)) == 10_000
    assert measured >= expected
