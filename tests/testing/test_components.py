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


_SCORES = _RNG.random((8, 5)).astype(np.float32)
_BINARY = _RNG.integers(2, size=(8, 5))


@pytest.mark.parametrize(
    ("loss", "arrays"),
    [
        (
            kd.losses.L1(preds="preds.x", targets="batch.x"),
            {"preds": _LOGITS, "targets": _SCORES},
        ),
        (
            kd.losses.Huber(preds="preds.x", targets="batch.x"),
            {"preds": _LOGITS, "targets": _SCORES},
        ),
        (
            kd.losses.FocalLoss(logits="preds.x", labels="batch.x"),
            {"logits": _LOGITS, "labels": _LABELS},
        ),
        (
            kd.losses.SigmoidBinaryCrossEntropy(logits="preds.x", labels="batch.x"),
            {"logits": _LOGITS, "labels": _BINARY},
        ),
        (
            kd.losses.CosineDistance(preds="preds.x", targets="batch.x"),
            {"preds": _LOGITS, "targets": _SCORES},
        ),
    ],
    ids=lambda x: type(x).__name__,
)
def test_losses_keep_their_contract(loss, arrays):
    kd.testing.check_loss(loss, **arrays)


@pytest.mark.parametrize(
    ("metric", "arrays"),
    [
        (
            kd.metrics.TopKAccuracy(logits="preds.x", labels="batch.x", k=2),
            {"logits": _LOGITS, "labels": _LABELS},
        ),
        (
            kd.metrics.F1(logits="preds.x", labels="batch.x", num_classes=5),
            {"logits": _LOGITS, "labels": _LABELS},
        ),
        (
            kd.metrics.RocAuc(
                logits="preds.x", labels="batch.x", unique_labels=range(5)
            ),
            {"logits": _LOGITS, "labels": _LABELS},
        ),
        (
            kd.metrics.MeanSquaredError(preds="preds.x", targets="batch.x"),
            {"preds": _LOGITS, "targets": _SCORES},
        ),
        (
            kd.metrics.R2Score(preds="preds.x", targets="batch.x"),
            {"preds": _LOGITS, "targets": _SCORES},
        ),
        (
            kd.metrics.ConfusionMatrix(
                logits="preds.x", labels="batch.x", num_classes=5
            ),
            {"logits": _LOGITS, "labels": _LABELS},
        ),
    ],
    ids=lambda x: type(x).__name__,
)
def test_metrics_keep_their_contract(metric, arrays):
    kd.testing.check_metric(metric, **arrays)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _ForgetsItsMask(kd.metrics.Metric):
    State = kd.metrics.AverageState
    values: kd.kontext.Key = "batch.values"
    mask: kd.kontext.Key | None = None

    def get_state(self, values, mask=None):
        return kd.metrics.AverageState.from_values(values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _CountsWhatIsMasked(_ForgetsItsMask):
    def get_state(self, values, mask=None):
        mask = jnp.ones((len(values), 1)) if mask is None else mask
        total = (values[:, None] * mask).sum()
        return kd.metrics.AverageState(total=total, count=jnp.float32(len(values)))


def test_a_mask_of_a_metric_is_held_to_its_meaning():
    values = np.arange(8, dtype=np.float32)
    for wrong in (_ForgetsItsMask(), _CountsWhatIsMasked()):
        with pytest.raises(AssertionError, match="masked out counts"):
            kd.testing.check_metric(wrong, values=values)


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


def _image():
    return {"image": np.arange(64, dtype=np.uint8).reshape(8, 8, 1)}


@pytest.mark.parametrize(
    "transform",
    [
        kd.data.Normalize(key="image", mean=0.5, std=0.1),
        kd.data.Resize(key="image", size=(4, 4)),
        kd.data.RandomCrop(key="image", shape=(4, 4, 1)),
        kd.data.RandomFlipLeftRight(key="image"),
        kd.data.ColorJitter(key="image", brightness=0.5),
    ],
    ids=lambda x: type(x).__name__,
)
def test_transforms_of_ours_keep_their_contract(transform):
    element = _image()
    if isinstance(transform, kd.data.Normalize | kd.data.ColorJitter):
        image = element["image"].repeat(3, -1).astype(np.float32) / 255
        element = {"image": image}
    kd.testing.check_transform(transform, element)


class _OwnGenerator(kd.data.RandomMapTransform):
    generator = np.random.default_rng(0)

    def random_map(self, element, rng):
        return {"x": self.generator.random(2)}


class _AnySize(kd.data.RandomMapTransform):
    def random_map(self, element, rng):
        return {"x": np.zeros(rng.integers(1, 100))}


def test_random_transforms_draw_from_what_they_are_given_and_keep_one_shape():
    with pytest.raises(AssertionError, match="Draw from the `rng`"):
        kd.testing.check_transform(_OwnGenerator(), {})
    with pytest.raises(AssertionError, match="another generator it gives"):
        kd.testing.check_transform(_AnySize(), {})


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


class _Overflowing(nn.Module):
    """What is exact in f32 and not in bf16: a difference of large numbers."""

    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        y = nn.Dense(3)(x)
        return {"y": (y + 1e4) - 1e4}


def test_models_are_held_to_what_they_are_in_bf16():
    with pytest.raises(AssertionError, match=r"In bfloat16, preds\.y is .* off"):
        kd.testing.check_model(_Overflowing(), {"x": _LOGITS}, rtol=1e-2)
    kd.testing.check_model(_Overflowing(), {"x": _LOGITS}, rtol=1e-2, bf16_rtol=None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        kd.nn.Sequential(
            inputs="batch.x", outputs="y", layers=[nn.Conv(4, (3, 3)), nn.relu]
        ),
        kd.nn.VitAutoEncoder(
            encoder=kd.nn.VitEncoder.from_spec(
                num_heads=2, hidden_size=8, num_layers=1, patch_size=4
            ),
            image="batch.x",
        ),
        kd.nn.UNet(num_classes=2, features=(4, 8), image="batch.x"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_models_of_ours_keep_their_contract(model):
    image = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    kd.testing.check_model(model, {"x": image}, rtol=1e-4)


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
