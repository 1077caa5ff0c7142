"""How good the digits of the GAN example are; a minute of training."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from sklearn import svm

from examples import digits_data, digits_gan, digits_gan_model
from kauldron import kd, konfig

pytestmark = pytest.mark.slow


def _real(split):
    images, labels = digits_data.Digits(split=split)._arrays
    return images.reshape(len(images), -1) / 16, labels


def test_drawn_digits_are_as_good_as_real_ones_to_a_classifier(tmp_path):
    cfg = digits_gan.get_config()
    cfg.workdir = str(tmp_path)
    trainer = konfig.resolve(cfg)
    state, _ = trainer.train()
    averaged = kd.optim.UseEmaParams(partial_ok=True).transform(state)
    labels = np.tile(np.arange(10), 100)
    drawn = trainer.model.apply(
        {"params": averaged.params},
        labels,
        method=digits_gan_model.ConditionalGan.make,
        rngs={"default": jax.random.key(0)},
    )
    drawn = np.asarray(drawn).reshape(1000, 64)

    knows_real = svm.SVC().fit(*_real("train"))
    knows_drawn = svm.SVC().fit(drawn, labels)
    scores = {
        "real classifier, real digits": knows_real.score(*_real("test")),
        "real classifier, drawn digits": knows_real.score(drawn, labels),
        "drawn classifier, real digits": knows_drawn.score(*_real("test")),
    }
    print(scores)
    assert scores["real classifier, drawn digits"] > 0.95
    # All of a digit's shapes are drawn, or the classifier would not know them.
    assert scores["drawn classifier, real digits"] > 0.93
