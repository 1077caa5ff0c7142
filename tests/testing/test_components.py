"""Contracts of metrics, losses, transforms and models: ours keep them, faulty ones don't."""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kauldron import kd

_RNG = np.random.default_rng(0)
_LOGITS = _RNG.normal(size=(8, 5)).astype(np.float32)
_LABELS = _RNG.integers(5, size=(8, 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _MeanOfMeans(kd.metrics.Metric):
    """Merges by averaging: wrong for parts of other sizes."""

    values: kd.kontext.Key = "batch.values"

    @flax.struct.dataclass
    class State(kd.metrics.State):
        mean: jax.Array
        count: jax.Array

        @classmethod
        def empty(cls):
            return cls(mean=jnp.zeros(()), count=jnp.zeros(()))

        def merge(self, other):
            count = jnp.maximum(
                jnp.minimum(self.count, 1) + jnp.minimum(other.count, 1), 1
            )
            return self.replace(mean=(self.mean + other.mean) / count, count=count)

        def compute(self):
            return self.mean

    def get_state(self, values):
        return self.State(mean=values.mean(), count=jnp.float32(len(values)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OfHost(kd.losses.Loss):
    """Leaves the graph: nothing would be trained."""

    values: kd.kontext.Key = "preds.values"

    def get_values(self, values):
        return jax.lax.stop_gradient(values) ** 2


def test_published_metrics_and_losses_keep_their_contract():
    kd.testing.check_metric(
        kd.metrics.Accuracy(logits="preds.logits", labels="batch.label"),
        logits=_LOGITS,
        labels=_LABELS,
    )
    kd.testing.check_loss(
        kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.label"
        ),
        logits=_LOGITS,
        labels=_LABELS,
    )


def test_a_mean_of_means_is_noticed():
    with pytest.raises(AssertionError, match="Two parts, merged"):
        kd.testing.check_metric(_MeanOfMeans(), values=np.arange(9.0, dtype=np.float32))


def test_a_loss_without_a_gradient_is_noticed():
    with pytest.raises(AssertionError, match="all zero"):
        kd.testing.check_loss(_OfHost(), values=_LOGITS)


def test_arrays_that_are_not_given_and_too_few_examples_are_told():
    metric = kd.metrics.Accuracy(logits="preds.logits", labels="batch.label")
    with pytest.raises(AssertionError, match=r"give \['labels'\]"):
        kd.testing.check_metric(metric, logits=_LOGITS)
    with pytest.raises(AssertionError, match="two or more"):
        kd.testing.check_metric(metric, logits=_LOGITS[:1], labels=_LABELS[:1])


def test_transforms_must_be_functions_that_leave_their_element():
    element = {"image": np.arange(6, dtype=np.uint8).reshape(2, 3, 1)}
    kd.testing.check_transform(kd.data.Cast(key="image", dtype="float32"), element)
    with pytest.raises(AssertionError, match="changes the element"):
        kd.testing.check_transform(_changes_in_place, element)
    with pytest.raises(AssertionError, match="second call"):
        kd.testing.check_transform(_Counting(), element)


def _changes_in_place(element):
    element["image"] += 1
    return element


class _Counting:
    calls = 0

    def map(self, element):
        type(self).calls += 1
        return {"image": element["image"] + self.calls}


class _Mlp(nn.Module):
    x: kd.kontext.Key = "batch.x"
    normalizes_by_place: bool = False

    @nn.compact
    def __call__(self, x):
        if self.normalizes_by_place:
            x = x - x[:1]
        return {"y": nn.Dense(3)(x)}


class _Summed(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        return {"y": nn.Dense(3)(x).sum()}


def test_models_keep_examples_apart_and_return_batches():
    batch = {"x": _LOGITS}
    kd.testing.check_model(_Mlp(), batch)
    with pytest.raises(AssertionError, match="place in the batch"):
        kd.testing.check_model(_Mlp(normalizes_by_place=True), batch)
    with pytest.raises(AssertionError, match=r"first axis of preds\.y"):
        kd.testing.check_model(_Summed(), batch)


_CONFIG = """
from examples import digits_classifier


def get_config():
    cfg = digits_classifier.get_config()
    cfg.num_train_steps = 4
    cfg.log_metrics_every = 2
    cfg.schedules.learning_rate.init_value = 1e-3
    return cfg
"""


@pytest.mark.slow
def test_configs_are_found_checked_and_compared_with_what_was_noted(tmp_path):
    config = tmp_path / "configs" / "digits.py"
    config.parent.mkdir()
    config.write_text(_CONFIG)
    (config.parent / "helper.py").write_text("x = 1\n")
    assert kd.testing.configs_in(config.parent) == [config]
    kd.testing.check_config(config)
    golden = tmp_path / "golden" / "digits.json"
    with pytest.raises(AssertionError, match="update=True"):
        kd.testing.check_golden(config, golden)
    kd.testing.check_golden(config, golden, update=True)
    kd.testing.check_golden(config, golden)
    config.write_text(config.read_text().replace("1e-3", "2e-3"))
    with pytest.raises(AssertionError, match="losses/xentropy"):
        kd.testing.check_golden(config, golden)
    wrong = "cfg.num_train_steps = 4\n    cfg.train_losses.xentropy.logits = 'preds.z'"
    config.write_text(_CONFIG.replace("cfg.num_train_steps = 4", wrong))
    with pytest.raises(KeyError, match=r"preds\.z"):
        kd.testing.check_config(config)
    with pytest.raises(AssertionError, match="no config file"):
        kd.testing.configs_in(tmp_path / "golden")
