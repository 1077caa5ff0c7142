"""What is written where, and taken back after a restart."""

from __future__ import annotations

import io
import json
import os
import wave

import jax
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator
from tensorboardX.proto import plugin_hparams_pb2

from kauldron import kd, konfig, metrics
from kauldron.step import measured_numbers
from kauldron.train import auxiliaries
from kauldron.workdir import config_values
from tests.train import small_run

RNG = np.random.default_rng(0)


def _writer(tmp_path, collection="train"):
    return kd.train.KDMetricWriter(workdir=tmp_path, collection=collection)


def _aux(value=2.0, images=None):
    state = metrics.AverageState.from_values(np.float32([value]))
    summaries = {}
    if images is not None:
        show = kd.summaries.ShowImages(images="x")
        summaries = {"pic": show.get_state(images=images)}
    return auxiliaries.AuxiliariesState(
        loss_states={"a": state, "b": {"c": state}},
        metric_states={"m": state},
        summary_states=summaries,
    )


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _events(folder):
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    return events


def test_values_go_to_json_lines_and_tensorboard(tmp_path):
    writer = _writer(tmp_path)
    writer.write_step_metrics(
        step=3,
        aux=_aux(),
        schedules={"lr": lambda step: step / 10},
        log_summaries=False,
    )
    writer.close()
    expected = {
        "losses/a": 2.0,
        "losses/b/c": 2.0,
        "losses/total": 4.0,
        "metrics/m": 2.0,
        "schedules/lr": 0.3,
    }
    assert _lines(tmp_path / "metrics.jsonl") == [
        {"step": 3, "collection": "train", **expected}
    ]
    events = _events(tmp_path / "train")
    assert set(events.Tags()["scalars"]) == set(expected)
    [scalar] = events.Scalars("losses/total")
    assert (scalar.step, scalar.value) == (3, 4.0)


def test_images_are_pictures_in_tensorboard(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    writer = _writer(tmp_path)
    writer.write_step_metrics(
        step=1, aux=_aux(images=images), schedules={}, log_summaries=True
    )
    writer.close()
    events = _events(tmp_path / "train")
    assert events.Tags()["images"] == ["summaries/pic/0", "summaries/pic/1"]
    [event] = events.Images("summaries/pic/1")
    picture = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
    np.testing.assert_array_equal(picture, images[1])


def test_histograms_points_videos_and_texts_are_shown(tmp_path):
    writer = _writer(tmp_path)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1, 10, 3)).astype(np.float32)
    values = {
        "hist": kd.summaries.Histogram(
            np.array([0.0, 0.2, 1.0, np.nan]), num_buckets=2
        ),
        "points": kd.summaries.PointCloud(points),
        "video": kd.summaries.Video(rng.random((1, 3, 4, 5, 1)).astype(np.float32)),
        "text": "a *word*",
        "texts": np.array(["one", "two"]),
    }
    writer.write_summaries(2, values)
    writer.close()
    tags = _events(tmp_path / "train").Tags()
    assert "hist" in tags["histograms"]
    assert tags["images"] == ["video/0"]
    [video] = _events(tmp_path / "train").Images("video/0")
    gif = Image.open(io.BytesIO(video.encoded_image_string))
    assert (gif.format, gif.n_frames, gif.size) == ("GIF", 3, (5, 4))
    assert {"text/text_summary", "texts/text_summary"} <= {*tags["tensors"]}
    assert any(tag.startswith("points") for tag in tags["tensors"])
    [event] = _events(tmp_path / "train").Histograms("hist")
    assert event.histogram_value.num == 3


def test_tensorboard_forgets_what_was_rewound(tmp_path):
    first = _writer(tmp_path)
    for step in (0, 5, 10):
        first.write_scalars(step, {"x": 1.0})
    first.close()
    second = _writer(tmp_path)
    second.rewind(5)
    second.write_scalars(5, {"x": 2.0})
    second.close()
    values = [(s.step, s.value) for s in _events(tmp_path / "train").Scalars("x")]
    assert values == [(0, 1.0), (5, 2.0)]


def test_lines_are_strict_json_even_for_nan(tmp_path):
    _writer(tmp_path).write_scalars(
        0, {"a": np.nan, "b": np.inf, "c": -np.inf, "d": 1.5}
    )

    def refuse(name):
        raise AssertionError(name)

    line = (tmp_path / "metrics.jsonl").read_text()
    record = json.loads(line, parse_constant=refuse)
    assert (record["a"], record["b"], record["c"]) == ("NaN", "Infinity", "-Infinity")
    assert np.isnan(float(record["a"]))


def test_rates_have_a_file_of_their_own(tmp_path):
    class Timer:
        def flush_metrics(self):
            return {"perf_stats/steps_per_sec": 10.0}

    _writer(tmp_path).write_step_metrics(
        step=0, aux=_aux(), schedules={}, log_summaries=False, timer=Timer()
    )
    assert "perf" not in (tmp_path / "metrics.jsonl").read_text()
    [record] = _lines(tmp_path / "timings.jsonl")
    assert record["perf_stats/steps_per_sec"] == 10.0


def test_metric_that_is_no_number_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"'metrics/x' is no number: got str"):
        measured_numbers.to_numbers("metrics/x", "text")


def test_table_of_numbers_is_a_line_of_its_own(tmp_path):
    metric = kd.metrics.ConfusionMatrix(logits="l", labels="t", num_classes=2)
    state = metric.get_state(logits=np.eye(2), labels=np.array([[0], [0]]))
    writer = _writer(tmp_path)
    aux = auxiliaries.AuxiliariesState(metric_states={"confusion": state})
    writer.write_step_metrics(step=4, aux=aux, schedules={}, log_summaries=False)
    writer.close()
    [record] = _lines(tmp_path / "metrics.jsonl")
    assert record == {
        "step": 4,
        "collection": "train",
        "metrics/confusion": [[1, 1], [0, 0]],
    }


def test_summary_that_cannot_be_shown_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"'summaries/x' cannot be shown"):
        _writer(tmp_path).write_summaries(0, {"summaries/x": np.zeros((2, 2))})


def test_writer_used_alone_asks_for_a_workdir():
    with pytest.raises(ValueError, match=r"`KDMetricWriter\.workdir` is not set"):
        kd.train.KDMetricWriter().write_scalars(0, {"x": 1.0})


def test_sound_is_a_wave_file_in_tensorboard(tmp_path):
    writer = _writer(tmp_path)
    samples = np.sin(np.linspace(0, 100, 800)).reshape(1, 400, 2)
    writer.write_audios(0, {"sound": samples}, sample_rate=8000)
    writer.close()
    [event] = _events(tmp_path / "train").Audio("sound/0")
    assert (event.sample_rate, event.length_frames) == (8000, 400)
    with wave.open(io.BytesIO(event.encoded_audio_string)) as sound:
        written = np.frombuffer(sound.readframes(400), "<i2").reshape(400, 2)
    np.testing.assert_allclose(written / 32767, samples[0], atol=1 / 32767)


def test_description_of_a_run_is_text_in_tensorboard(tmp_path):
    writer = _writer(tmp_path)
    spec = jax.ShapeDtypeStruct((3, 8), np.float32)
    writer.write_param_overview(0, {"dense": {"kernel": spec, "bias": spec}})
    writer.write_element_spec(0, {"image": spec})
    with konfig.imports():
        import optax
    config = konfig.ConfigDict(
        {"optimizer": optax.adam(0.1), "names": ["a"], "n": None}
    )
    writer.write_config(config)
    writer.write_hparams(config_values.leaves(json.loads(config.to_json())))
    writer.close()
    events = _events(tmp_path / "train")

    def text(tag):
        [event] = events.Tensors(f"{tag}/text_summary")
        return event.tensor_proto.string_val[0].decode()

    assert "| `dense.kernel` | 3 x 8 | float32 | 24 |" in text("parameters")
    assert "| **total** |  |  | **48** |" in text("parameters")
    assert events.Scalars("num_params")[0].value == 48
    assert "| `image` | 3 x 8 | float32 |" in text("element_spec")
    assert "optax.adam" in text("config")
    content = events.summary_metadata[
        "_hparams_/session_start_info"
    ].plugin_data.content
    plugin = plugin_hparams_pb2.HParamsPluginData.FromString(content)
    hparams = plugin.session_start_info.hparams
    assert hparams["optimizer"].string_value == "adam"
    assert hparams["optimizer.0"].number_value == 0.1
    assert hparams["names[0]"].string_value == "a"
    assert len(hparams) == 3


def test_pictures_are_files_when_asked_and_rewound_with_the_run(tmp_path):
    writer = kd.train.KDMetricWriter(
        workdir=tmp_path, collection="train", save_images=True
    )
    images = RNG.integers(0, 256, (2, 4, 5, 1), np.uint8)
    video = RNG.random((1, 3, 4, 5, 3), np.float32)
    for step in (5, 10):
        writer.write_images(step, {"summaries/a b/../x": images})
        writer.write_videos(step, {"moving": video}, fps=5)
    folder = tmp_path / "train" / "images"
    pictures = folder / "a_b" / "_" / "x"
    assert {p.name for p in pictures.iterdir()} == {
        f"step_{step}_{i}.png" for step in (5, 10) for i in (0, 1)
    }
    written = np.asarray(Image.open(pictures / "step_10_1.png"))
    np.testing.assert_array_equal(written, images[1, ..., 0])
    gif = Image.open(folder / "moving" / "step_5_0.gif")
    assert (gif.n_frames, gif.info["duration"]) == (3, 200)
    (folder / "step_99_notes.txt").write_text("of the user")
    writer.rewind(10)
    assert sorted(p.name for p in folder.rglob("step_*")) == [
        "step_5_0.gif",
        "step_5_0.png",
        "step_5_1.png",
        "step_99_notes.txt",
    ]


def test_what_could_not_be_written_is_written_later_and_in_order(tmp_path):
    writer = _writer(tmp_path / "run")
    (tmp_path / "run").write_text("in the way")
    for step in (0, 1):
        with pytest.raises(OSError, match=r"Not a directory|File exists"):
            writer.write_scalars(step, {"x": step})
    (tmp_path / "run").unlink()
    (tmp_path / "run").mkdir()
    writer.write_scalars(2, {"x": 2.0})
    writer.close()
    assert [r["step"] for r in _lines(tmp_path / "run" / "metrics.jsonl")] == [0, 1, 2]
    scalars = _events(tmp_path / "run" / "train").Scalars("x")
    assert [s.step for s in scalars] == [0, 1, 2]


def test_what_is_written_together_opens_each_file_once(tmp_path, monkeypatch):
    writer = _writer(tmp_path)
    opened = []
    monkeypatch.setattr(
        "builtins.open",
        lambda path, *args, open_=open, **kwargs: (
            opened.append(os.fspath(path)) or open_(path, *args, **kwargs)
        ),
    )
    with writer.together():
        for step in range(5):
            writer.write_scalars(step, {"x": step})
            writer.flush()
        assert not [x for x in opened if x.endswith("metrics.jsonl")]
    assert len([x for x in opened if x.endswith("/metrics.jsonl")]) == 1
    assert [r["step"] for r in _lines(tmp_path / "metrics.jsonl")] == [0, 1, 2, 3, 4]
    assert [s.step for s in _events(tmp_path / "train").Scalars("x")] == [0, 1, 2, 3, 4]


def test_what_cannot_be_written_together_is_raised_and_written_later(tmp_path):
    writer = _writer(tmp_path / "run")
    (tmp_path / "run").write_text("in the way")
    refused = pytest.raises(OSError, match=r"Not a directory|File exists")
    with refused, writer.together():
        writer.write_scalars(0, {"x": 0.0})
        writer.write_scalars(1, {"x": 1.0})
    assert writer.unwritten()["records"] == 2
    (tmp_path / "run").unlink()
    (tmp_path / "run").mkdir()
    writer.close()
    assert [r["step"] for r in _lines(tmp_path / "run" / "metrics.jsonl")] == [0, 1]
    scalars = _events(tmp_path / "run" / "train").Scalars("x")
    assert [s.step for s in scalars] == [0, 1]


def test_evaluation_of_a_trainer_without_a_workdir_is_returned_and_not_written(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    evaluator = kd.evals.Evaluator(run=kd.evals.Final())
    trainer = small_run.make_trainer(None, evals={"end": evaluator})
    aux = trainer.evals["end"].evaluate(trainer.init_state(), 0)
    assert "losses/xentropy" in aux.compute().loss_values
    assert list(tmp_path.iterdir()) == []
