"""How good the generative recipes of `configs/` become; a minute of training each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import decomposition, svm

from configs import digits_flow, digits_vae
from examples import digits_data
from kauldron import kd, konfig

pytestmark = pytest.mark.slow


def _real(split, vrange):
    """Digits as rows of 64 values, and their labels."""
    images, labels = digits_data.Digits(split=split)._arrays
    low, high = vrange
    return low + (high - low) * images.reshape(len(images), -1) / 16, labels


def _trained(config, workdir):
    cfg = config.get_config()
    cfg.workdir = str(workdir)
    trainer = konfig.resolve(cfg)
    state, _ = trainer.train()
    return trainer, state


def _distances_to_nearest(rows, others):
    squares = np.sum((rows[:, None] - others[None]) ** 2, axis=-1)
    return np.sqrt(squares.min(axis=1))


@pytest.mark.timeout(1800)
def test_digits_drawn_by_flow_matching_are_read_as_asked_for_and_no_copies(tmp_path):
    trainer, state = _trained(digits_flow, tmp_path)
    averaged = kd.optim.UseEmaParams().transform(state)
    labels = np.tile(np.arange(10, dtype=np.int32), 100)
    noise = jax.random.normal(jax.random.key(0), (1000, 8, 8, 1))
    drawn = jax.jit(
        lambda params, noise: trainer.model.apply(
            {"params": params}, noise, labels, method="generate"
        )
    )(averaged.params, noise)
    drawn = np.clip(np.asarray(drawn).reshape(1000, 64), -1, 1)

    (train, train_labels), (test, test_labels) = (
        _real(split, (-1, 1)) for split in ("train", "test")
    )
    knows_real = svm.SVC().fit(train, train_labels)
    knows_drawn = svm.SVC().fit(drawn, labels)
    # Copies would lie nearer to the training digits than other real digits do.
    nearness = np.median(_distances_to_nearest(drawn, train))
    nearness_of_real = np.median(_distances_to_nearest(test, train))
    scores = {
        "real classifier, real digits": knows_real.score(test, test_labels),
        "real classifier, drawn digits": knows_real.score(drawn, labels),
        "drawn classifier, real digits": knows_drawn.score(test, test_labels),
        "distance, relative to real": nearness / nearness_of_real,
    }
    print(scores)
    assert scores["real classifier, drawn digits"] > 0.97
    # All of a digit's shapes are drawn, or the classifier would not know them.
    assert scores["drawn classifier, real digits"] > 0.92
    assert 0.8 < scores["distance, relative to real"] < 1.2
    assert _distances_to_nearest(drawn, train).min() > 0.5  # of 16 from black to white


@pytest.mark.timeout(1800)
def test_the_vae_explains_held_out_digits_better_than_pca_of_its_size(tmp_path):
    trainer, state = _trained(digits_vae, tmp_path)
    (train, _), (test, _) = (_real(split, (0, 1)) for split in ("train", "test"))
    with kd.nn.set_train_property(False):
        preds = trainer.model.apply(
            {"params": state.params},
            jnp.float32(test).reshape(-1, 8, 8, 1),
            rngs={"default": jax.random.key(0)},
        )
        of_mean = trainer.model.apply(
            {"params": state.params}, preds["mean"], method="decode"
        )
    pca = decomposition.PCA(8).fit(train)
    nats = _evidence_lower_bound(test, jax.tree.map(np.float64, preds))
    error = np.mean((np.asarray(of_mean).reshape(-1, 64) - test) ** 2)
    error_of_pca = np.mean((pca.inverse_transform(pca.transform(test)) - test) ** 2)
    print({"nats": nats, "of PCA": pca.score(test)})
    print({"squared error": error, "of PCA": error_of_pca})
    assert nats > 33 > pca.score(test)
    assert error < 0.5 * error_of_pca


def _evidence_lower_bound(images, preds):
    """In nats per image, by one draw of each code: Kingma & Welling 2014, eq. 10."""
    variance = digits_vae.SIGMA**2
    errors = (preds["image"].reshape(images.shape) - images) ** 2
    log_p = -(errors / variance + np.log(2 * np.pi * variance)).sum(-1) / 2
    mean, logvar = preds["mean"], preds["logvar"]
    kl = (np.exp(logvar) + mean**2 - 1 - logvar).sum(-1) / 2
    return np.mean(log_p - kl)
