"""Messages of event files, read by the classes that tensorboardX has of them."""

import io
import wave

import numpy as np
import pytest
from tensorboardX import summary
from tensorboardX.proto import event_pb2, plugin_hparams_pb2, summary_pb2

from kauldron.recording import _event_messages


def _read(value):
    return summary_pb2.Summary.Value.FromString(value)


@pytest.mark.parametrize("step", [0, 1, 127, 128, 300, 2**40, -1])
def test_an_event_has_its_time_its_step_and_its_values(step):
    values = [_event_messages.scalar("loss", 0.5), _event_messages.scalar("日", -2)]
    event = event_pb2.Event.FromString(
        _event_messages.measurements(1e9 + 0.25, step, values)
    )
    assert event == event_pb2.Event(
        wall_time=1e9 + 0.25,
        step=step,
        summary={
            "value": [
                {"tag": "loss", "simple_value": 0.5},
                {"tag": "日", "simple_value": -2},
            ]
        },
    )


def test_a_file_begins_with_its_version():
    assert event_pb2.Event.FromString(_event_messages.version(3.0)) == event_pb2.Event(
        wall_time=3.0, file_version="brain.Event:2"
    )


def test_the_start_of_a_session_has_its_step():
    event = event_pb2.Event.FromString(_event_messages.session_start(3.0, 7))
    assert event == event_pb2.Event(
        wall_time=3.0, step=7, session_log={"status": "START"}
    )


@pytest.mark.parametrize("value", [0, -0.0, 1e-40, 0.1, 1e300, -1e300, np.inf, np.nan])
def test_a_number_is_the_nearest_of_32_bits(value):
    message = _read(_event_messages.scalar("x", value))
    assert message.HasField("simple_value")
    with np.errstate(over="ignore"):
        expected = np.float32(value)
    np.testing.assert_array_equal(np.float32(message.simple_value), expected)


def test_a_picture_has_its_size_and_its_bytes():
    content = bytes(range(256)) * 3
    message = _read(_event_messages.encoded_image("seen/0", content, (28, 300, 3)))
    assert message == summary_pb2.Summary.Value(
        tag="seen/0",
        image={
            "height": 28,
            "width": 300,
            "colorspace": 3,
            "encoded_image_string": content,
        },
    )


def test_sound_is_a_wav_file():
    samples = np.array([[0.0, 1.0], [-1.0, 0.5], [0.25, 0.0]], np.float32)
    message = _read(_event_messages.audio("voice/0", samples, 16_000))
    assert (message.tag, message.audio.sample_rate) == ("voice/0", 16_000)
    assert (message.audio.num_channels, message.audio.length_frames) == (2, 3)
    assert message.audio.content_type == "audio/wav"
    with wave.open(io.BytesIO(message.audio.encoded_audio_string)) as file:
        assert file.getparams()[:4] == (2, 2, 16_000, 3)


@pytest.mark.parametrize("text", ["", "a | b\n--- | ---\n1 | 2", "größer " * 100])
def test_text_is_what_tensorboardx_writes(text):
    (expected,) = summary.text("train/config", text).value
    assert _read(_event_messages.text("train/config", text)) == expected


def test_hyperparameters_are_what_tensorboardx_writes():
    values = {
        "rate": 0.1,
        "steps": 300,
        "zero": 0,
        "name": "adam",
        "empty": "",
        "nesterov": True,
        "amsgrad": False,
        "fn": len,
        "list": [1],
        "none": None,
    }
    experiment, start, _ = summary.hparams(values, {})
    shown, given = map(_read, _event_messages.hparams(values))
    assert _content(shown).experiment == _content(*experiment.value).experiment
    expected = _content(*start.value).session_start_info
    assert _content(given).session_start_info == expected
    assert len(expected.hparams) == 8


def _content(value):
    assert value.metadata.plugin_data.plugin_name == "hparams"
    return plugin_hparams_pb2.HParamsPluginData.FromString(
        value.metadata.plugin_data.content
    )
