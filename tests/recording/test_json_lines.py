"""Files of JSON lines: shared by processes, whole lines only, rewound by collection."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from kauldron.workdir import json_lines

ROOT = pathlib.Path(__file__).parents[2]


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rewinding_takes_back_later_steps_of_one_collection(tmp_path):
    path = tmp_path / "metrics.jsonl"
    records = json_lines.RecordFile(path)
    for step in (0, 5, 10):
        records.append(step, "train", {"x": step})
    records.append(10, "eval", {"x": 1})
    records.rewind(5, "train")
    assert _lines(path) == [
        {"step": 0, "collection": "train", "x": 0},
        {"step": 10, "collection": "eval", "x": 1},
    ]


def test_half_a_line_of_a_killed_process_is_cut_off_before_the_next(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "collection": "train"}\n{"step": 2, "coll')
    assert [r["step"] for r in json_lines.read(path)] == [1]
    json_lines.RecordFile(path).append(3, "eval", {})
    assert [r["step"] for r in _lines(path)] == [1, 3]


def test_a_first_line_that_is_cut_off_leaves_an_empty_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": ' + "1" * 10_000)
    json_lines.RecordFile(path).append(3, "eval", {})
    assert [r["step"] for r in _lines(path)] == [3]


def test_records_that_did_not_fit_the_disk_are_written_when_they_fit(tmp_path):
    records = json_lines.RecordFile(tmp_path / "run" / "metrics.jsonl")
    for step in (1, 2):
        with pytest.raises(OSError, match="No such file"):
            records.append(step, "train", {})
    (tmp_path / "run").mkdir()
    records.append(3, "train", {})
    path = tmp_path / "run" / "metrics.jsonl"
    assert [r["step"] for r in _lines(path)] == [1, 2, 3]


def test_records_beyond_those_that_may_wait_are_lost_which_is_raised_and_counted(
    tmp_path,
):
    path = tmp_path / "run" / "metrics.jsonl"
    records = json_lines.RecordFile(path)
    for step in range(10_000):
        with pytest.raises(FileNotFoundError):
            records.append(step, "train", {})
    with pytest.raises(
        json_lines.LostError, match=r"metrics.jsonl: 10,000 records wait"
    ):
        records.append(10_000, "train", {})
    assert records.num_unwritten == 10_001
    path.parent.mkdir()
    records.append(10_001, "train", {})  # there is room again: nothing more is lost
    assert [r["step"] for r in _lines(path)] == [*range(10_000), 10_001]
    assert records.num_unwritten == 1


def test_rewinding_takes_back_what_waits_and_no_more(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    records = json_lines.RecordFile(path)
    for step in (1, 2):
        with pytest.raises(FileNotFoundError):
            records.append(step, "train", {})
    records.rewind(2, "train")
    path.parent.mkdir()
    records.flush()
    assert [r["step"] for r in _lines(path)] == [1]


_FULL = """
import resource, signal, sys
from kauldron.workdir import json_lines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
records = json_lines.RecordFile(sys.argv[1])
records.append(1, "train", {"x": 1.5})
try:
    records.append(2, "train", {str(i): i for i in range(100)})
except OSError as e:
    print(type(e).__name__, open(sys.argv[1]).read().count("\\n"))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
records.append(3, "train", {})
"""


def test_a_write_that_stops_in_the_middle_leaves_whole_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    out = _run(_FULL, path)
    assert out == "OSError 1\n"
    assert [r["step"] for r in _lines(path)] == [1, 2, 3]


_APPEND = """
import sys
from kauldron.workdir import json_lines
records = json_lines.RecordFile(sys.argv[1])
for step in range(1000):
    records.append(step, sys.argv[2], {"x": 0.5})
    if sys.argv[2] == "train" and step % 100 == 99:
        records.rewind(step, "train")
"""


def test_two_processes_append_and_rewind_without_losing_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    processes = [_start(_APPEND, path, name) for name in ("train", "eval")]
    for process in processes:
        assert process.communicate()[1] == ""
    records = _lines(path)
    evals = [r["step"] for r in records if r["collection"] == "eval"]
    trains = [r["step"] for r in records if r["collection"] == "train"]
    assert evals == list(range(1000))
    assert trains == [step for step in range(1000) if step % 100 != 99]


def _start(program, *args):
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def _run(program, *args):
    out, err = _start(program, *args).communicate()
    assert err == ""
    return out


def test_reading_writes_nothing_and_a_half_line_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "collection": "eval", "loss": 0.5}\n{"step": 2, "col')
    before = sorted(tmp_path.iterdir())
    assert json_lines.read(path) == [{"step": 1, "collection": "eval", "loss": 0.5}]
    assert sorted(tmp_path.iterdir()) == before
