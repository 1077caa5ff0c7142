"""Steps and writers of contrib, in small runs."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from PIL import Image

from kauldron import kd, kontext
from tests.train import small_run

T = kd.contrib.train


class Line(nn.Module):
    """`w x + b`, so that gradients are known."""

    x: kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.ones, (3,))
        b = self.param("b", nn.initializers.zeros, ())
        return {"y": (x @ w + b)[:, None], "w": w}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _GradOf(kd.losses.Loss):
    """The mean of a gradient of another loss, times the parameter."""

    grad: kontext.Key = "subgrads.fit.w"
    w: kontext.Key = "preds.w"

    def get_values(self, grad, w):
        return grad * w


LOSSES = {
    "fit": kd.losses.L2(preds="preds.y", targets="batch.label"),
    "small": kd.losses.AbsoluteValue(values="preds.w", weight=0.1),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _FloatLabel(kd.data.ElementWiseTransform):
    def map_element(self, element):
        return np.float32(element)


def _trainer(workdir, **changes):
    kwargs = {
        "model": Line(),
        "num_train_steps": 1,
        "train_ds": small_run.make_ds(
            batch_size=40, transforms=[_FloatLabel(key="label")]
        ),
        "eval_ds": None,
        "train_losses": LOSSES,
        "train_metrics": {},
        "trainstep": T.MultiTrainStep(),
        "optimizer": T.multi_optimizer(fit=optax.sgd(0.5), small=optax.sgd(2.0)),
        "log_metrics_every": 1,
    }
    return small_run.make_trainer(workdir, **{**kwargs, **changes})


def _data():
    points = small_run.Points()
    return points.x.astype(np.float64), (points.x[:, 0] > 0).astype(np.float64)


def test_each_loss_has_its_gradient_and_its_optimizer(tmp_path):
    x, label = _data()
    state, aux = _trainer(tmp_path).train()
    residual = x.sum(1) - label
    grad_w, grad_b = 2 * (residual[:, None] * x).mean(0), 2 * residual.mean()
    # d/dw of 0.1 * mean |w| is 0.1 / 3, for w > 0.
    expected = 1 - 0.5 * grad_w - 2.0 * 0.1 / 3
    np.testing.assert_allclose(state.params["w"], expected, rtol=1e-5)
    np.testing.assert_allclose(state.params["b"], -0.5 * grad_b, rtol=1e-5)
    values = aux.compute().loss_values
    assert values["losses/fit"] == pytest.approx((residual**2).mean(), rel=1e-5)
    assert values["losses/total"] == pytest.approx((residual**2).mean() + 0.1, rel=1e-5)


def test_gradients_and_updates_of_each_loss_can_be_looked_at(tmp_path):
    metrics = {
        name: kd.metrics.SingleDimension(tensor=key, index=0)
        for name, key in {
            "fit": "subgrads.fit.w",
            "small": "subgrads.small.w",
            "sum": "grads.w",
            "step": "subupdates.small.w",
            "updates": "updates.w",
        }.items()
    }
    _, aux = _trainer(tmp_path, train_metrics=metrics).train()
    values = {k[8:]: float(v) for k, v in aux.compute().metric_values.items()}
    assert values["small"] == pytest.approx(0.1 / 3, rel=1e-5)
    assert values["step"] == pytest.approx(-2.0 * 0.1 / 3, rel=1e-5)
    assert values["sum"] == pytest.approx(values["fit"] + values["small"], rel=1e-5)
    expected = -0.5 * values["fit"] + values["step"]
    assert values["updates"] == pytest.approx(expected, rel=1e-5)


def test_a_loss_may_read_the_gradient_of_one_before_it(tmp_path):
    x, label = _data()
    trainer = _trainer(
        tmp_path,
        train_losses={"fit": LOSSES["fit"], "second": _GradOf()},
        optimizer=T.multi_optimizer(fit=optax.sgd(0.0), second=optax.sgd(1.0)),
    )
    state, _ = trainer.train()
    grad_w = 2 * ((x.sum(1) - label)[:, None] * x).mean(0)
    # The gradient of the first loss is a constant here: no second derivative.
    np.testing.assert_allclose(state.params["w"], 1 - grad_w / 3, rtol=1e-5)


def test_rates_of_all_optimizers_are_logged(tmp_path):
    trainer = _trainer(tmp_path)
    rates = {k: float(f(0)) for k, f in trainer.logged_schedules.items()}
    assert rates == {"learning_rate/fit": 0.5, "learning_rate/small": 2.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": optax.sgd(1.0)}, "an optimizer for each loss"),
        ({"optimizer": T.multi_optimizer(fit=optax.sgd(1.0))}, r"\['fit'\] and losses"),
        (
            {"trainstep": kd.train.TrainStep()},
            "set `cfg.trainstep = kd.contrib.train.MultiTrainStep",
        ),
    ],
)
def test_losses_and_optimizers_that_do_not_belong_together_are_told(
    tmp_path, changes, words
):
    with pytest.raises(Exception, match=words):
        _trainer(tmp_path, **changes).train()


def test_multi_optimizer_takes_optimizers_only():
    with pytest.raises(ValueError, match="'small'"):
        T.multi_optimizer(fit=optax.sgd(1.0), small=0.1)
    with pytest.raises(ValueError, match="got none"):
        T.multi_optimizer()


def test_a_step_that_does_nothing_counts(tmp_path):
    trainer = _trainer(
        tmp_path,
        trainstep=T.NoopTrainStep(),
        optimizer=optax.sgd(0.1),
        num_train_steps=3,
    )
    before = jax.tree.map(np.asarray, trainer.init_state().params)
    state, _ = trainer.train()
    assert int(state.step) == 3
    jax.tree.map(np.testing.assert_array_equal, before, state.params)


def _writer(cls, workdir, **kwargs):
    return cls(workdir=workdir, collection="train", **kwargs)


def test_arrays_are_written_to_one_file_a_step(tmp_path):
    writer = _writer(T.NpzWriter, tmp_path, static_info={"classes": [1, 2]})
    images = np.random.default_rng(0).random((2, 3, 3, 1)).astype(np.float32)
    video = kd.summaries.Video(frames=images[None])
    writer.write_summaries(5, {"a/image": images, "text": "hello", "video": video})
    writer.write_arrays(5, {"table": np.eye(2)})
    writer.write_scalars(5, {"loss": 1.0})
    with np.load(tmp_path / "train" / "npz" / "step_5.npz") as file:
        written = dict(file)
    assert set(written) == {"a/image", "text", "video", "table", "classes"}
    np.testing.assert_array_equal(written["a/image"], images)
    np.testing.assert_array_equal(written["video"], images[None])
    assert written["text"] == "hello" and written["classes"].tolist() == [1, 2]


def test_what_is_written_can_be_chosen(tmp_path):
    writer = T.NpzWriter(
        output_dir=tmp_path, key_patterns=["losses/*"], save_scalars=True
    )
    writer.write_scalars(1, {"losses/a": 1.5, "metrics/b": 2.0})
    writer.write_arrays(2, {"table": np.eye(2)})  # nothing of it is wanted
    with np.load(tmp_path / "step_1.npz") as file:
        assert dict(file) == {"losses/a": 1.5}
    assert not (tmp_path / "step_2.npz").exists()


def test_files_of_a_lost_part_of_a_run_are_taken_back(tmp_path):
    writer = _writer(T.NpzWriter, tmp_path, save_scalars=True)
    for step in (1, 2, 10):
        writer.write_scalars(step, {"x": float(step)})
    writer.rewind(2)
    assert [p.name for p in (tmp_path / "train" / "npz").iterdir()] == ["step_1.npz"]


def test_a_run_writes_arrays_beside_its_usual_files(tmp_path):
    trainer = _trainer(
        tmp_path,
        writer={"files": kd.train.KDMetricWriter(), "npz": T.NpzWriter()},
        train_summaries={"w": kd.summaries.HistogramSummary(tensor="params.w")},
        log_summaries_every=1,
    )
    trainer.train()
    with np.load(tmp_path / "train" / "npz" / "step_0.npz") as file:
        np.testing.assert_array_equal(file["summaries/w"], [1, 1, 1])
    assert (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize("shown", [True, False])
def test_videos_are_written_as_gif_files(tmp_path, shown):
    writer = _writer(T.GifVideoWriter, tmp_path, write_video_summaries=shown)
    frames = np.zeros((2, 3, 4, 4, 3), np.float32)
    frames[0, 1] = 1.0
    writer.write_videos(7, {"a/b": frames}, fps=5.0)
    writer.close()
    folder = tmp_path / "train" / "videos" / "a" / "b"
    assert sorted(p.name for p in folder.iterdir()) == ["step_7_0.gif", "step_7_1.gif"]
    with Image.open(folder / "step_7_0.gif") as gif:
        assert gif.n_frames == 3 and gif.info["duration"] == 200
        gif.seek(1)
        assert np.asarray(gif.convert("RGB")).min() == 255
    events = list((tmp_path / "train").glob("events*"))
    assert bool(events) == shown
    writer.rewind(7)
    assert not list(folder.iterdir())
