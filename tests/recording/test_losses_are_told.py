"""What writers lose is told when it happens, counted, and told at the end."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from kauldron import kd
from kauldron._base import problem_log
from kauldron.recording import _event_file, _event_messages
from kauldron.recording import recorder as recorder_lib
from kauldron.workdir import json_lines


def _file_in_the_way(tmp_path):
    """Returns a workdir that cannot be written until `unlink` and `mkdir`."""
    workdir = tmp_path / "run"
    workdir.write_text("in the way")
    return workdir


def _write(writer, step):
    writer.write(step, kd.train.Measured(scalars={"x": float(step)}))


def test_events_beyond_those_that_may_wait_are_lost_which_is_raised_and_counted(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(_event_file, "_MAX_WAITING_BYTES", 100)
    folder = _file_in_the_way(tmp_path)
    events = _event_file.EventFile(folder)
    num_kept = 0
    with pytest.raises(json_lines.LostError, match="100 bytes wait for the disk"):
        for step in range(100):
            try:
                events.add(step, [_event_messages.scalar("x", 1.0)])
            except json_lines.LostError:
                raise
            except OSError:
                num_kept += 1
    assert 0 < num_kept < 10
    assert events.num_unwritten == 1 + num_kept + 1  # the first one begins the file
    folder.unlink()
    events.add(100, [_event_messages.scalar("x", 1.0)])
    assert events.num_unwritten == 1
    events.close()


def test_at_the_end_of_a_run_what_waited_too_long_is_counted(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(json_lines, "_MAX_WAITING", 2)
    workdir = _file_in_the_way(tmp_path)
    problems = problem_log.Problems()
    writer = kd.train.KDMetricWriter(workdir=workdir, collection="train")
    recorder = recorder_lib.Recorder([writer], problems)
    for step in range(5):
        recorder.tell(writer, lambda w, step=step: _write(w, step))
    recorder.join()
    workdir.unlink()
    workdir.mkdir()
    recorder.close()
    [failed, lost] = problems.lines()
    assert failed.startswith("the writer 'KDMetricWriter' failed")
    assert lost == "the writer 'KDMetricWriter' has not written all: 3 records lost"
    lines = json_lines.read(workdir / "metrics.jsonl")
    assert [line["step"] for line in lines] == [0, 1]
    # Each kind once: what cannot be written now, and what never will.
    assert capfd.readouterr().err.count("Warning: the writer") == 2


def test_what_waited_and_is_written_at_the_end_was_no_loss(tmp_path):
    workdir = _file_in_the_way(tmp_path)
    problems = problem_log.Problems()
    writer = kd.train.KDMetricWriter(workdir=workdir, collection="train")
    recorder = recorder_lib.Recorder([writer], problems)
    for step in range(3):
        recorder.tell(writer, lambda w, step=step: _write(w, step))
    recorder.join()
    assert problems.lines() != []
    workdir.unlink()
    workdir.mkdir()
    recorder.close()
    assert problems.lines() == []
    lines = json_lines.read(workdir / "metrics.jsonl")
    assert [line["step"] for line in lines] == [0, 1, 2]


def test_pictures_that_could_not_be_saved_are_counted(tmp_path):
    writer = kd.train.KDMetricWriter(
        workdir=tmp_path, collection="train", save_images=True
    )
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "images").write_text("in the way")
    with pytest.raises(OSError, match=r"exists|directory"):
        writer.write_images(1, {"x": np.zeros((2, 3, 4, 3), np.uint8)})
    writer.close()
    assert writer.unwritten() == {"records": 0, "events": 0, "pictures": 2}


def test_writes_that_a_slow_writer_loses_are_counted_and_it_is_closed_all_the_same(
    monkeypatch, capfd
):
    monkeypatch.setattr(recorder_lib, "_MAX_WRITING", 2)
    go_on, written = threading.Event(), []

    class Slow(kd.train.Writer):
        def write(self, step, values):
            go_on.wait(60)
            written.append(step)

        def close(self):
            written.append("closed")

    problems = problem_log.Problems()
    writer = Slow(collection="train")
    recorder = recorder_lib.Recorder([writer], problems)
    for step in range(10):
        recorder.tell(writer, lambda w, step=step: _write(w, step))
    go_on.set()
    recorder.close()
    num_lost = 10 - (len(written) - 1)
    assert written[-1] == "closed"
    assert num_lost >= 7  # one is being written, two wait
    [line] = problems.lines()
    assert line == f"the writer 'Slow' was too slow: {num_lost} writes left out"
    assert capfd.readouterr().err.count("is too slow: 2 writes wait for it") == 1
