"""`kauldron apps worker`: lines in, lines out; with files, or with all in memory."""

from __future__ import annotations

import errno
import io
import json
import pathlib

import numpy as np
import pytest

from kauldron import apps
from tests.apps.verbs import digit_run


def test_a_worker_answers_line_by_line(app, digits, tmp_path):
    call = {"verb": "infer", "inputs": {"image": [f"{digits}/d0.png"]}}
    requests = [
        {"id": 1, "call": call, "out": f"{tmp_path}/a"},
        {"id": 2, "call": {**call, "mc": 99}, "out": f"{tmp_path}/b"},
        {"id": 3, "call": {"verb": "infer", "x": 1}, "out": f"{tmp_path}/c"},
        {"id": 4, "call": call, "out": f"{tmp_path}/d"},
    ]
    source = io.BytesIO("\n".join([*map(json.dumps, requests), "{"]).encode())
    target = io.BytesIO()
    apps.serve_lines(app, source, target)
    answers = [json.loads(line) for line in target.getvalue().splitlines()]
    assert answers[0] == {"ready": True, "works_in_memory": True}
    ends = [x for x in answers if "result" in x or "error" in x]
    assert [x.get("id") for x in ends] == [1, 2, 3, 4, None]
    assert ends[0]["result"] == ends[3]["result"]
    assert {x["error"]["code"] for x in ends if "error" in x} == {"mistake"}
    assert {x["id"] for x in answers if "progress" in x} == {1, 4}


def _asked_in_memory(app, call, contents):
    """Returns the first answer of a worker, and the files behind it."""
    sizes = {name: len(content) for name, content in contents.items()}
    line = json.dumps({"id": 7, "call": call, "contents": sizes}).encode()
    source = io.BytesIO(b"".join([line, b"\n", *contents.values(), b"\n"]))
    target = io.BytesIO()
    apps.serve_lines(app, source, target)
    _, answer, rest = target.getvalue().split(b"\n", 2)
    answer, files = json.loads(answer), {}
    for name, size in answer.get("contents", {}).items():
        files[name], rest = rest[:size], rest[size:]
    assert rest == b""
    return answer, files


@pytest.mark.parametrize("names", [["d0.png"], ["d1.png", "d0.npy", "d2.png"]])
@pytest.mark.parametrize("verb", ["infer", "evaluate", "pipeline"])
def test_a_worker_writes_the_same_bytes_into_memory(app, digits, tmp_path, names, verb):
    np.save(digits / "d0.npy", digit_run.images()[0])
    paths = [digits / name for name in names]
    call = {"verb": verb, "inputs": {"image": [f"x/{name}" for name in names]}}
    contents = {f"x/{path.name}": path.read_bytes() for path in paths}
    references = None
    if verb != "infer":
        references = digits / "labels.csv"
        call["references"] = {"label": ["labels.csv"]}
        contents["labels.csv"] = references.read_bytes()
    answer, files = _asked_in_memory(app, call, contents)
    asked = (paths,) if verb == "infer" else (paths, references)
    getattr(app, verb)(*asked, out=tmp_path / "out")
    written = {
        x.relative_to(tmp_path / "out").as_posix(): x.read_bytes()
        for x in (tmp_path / "out").rglob("*")
        if x.is_file()
    }
    assert answer["id"] == 7 and files == written and "result.json" in files


def test_a_worker_tells_mistakes_in_memory_as_with_files(app, digits, tmp_path):
    half = (digits / "d0.png").read_bytes()[:60]
    (tmp_path / "half.png").write_bytes(half)
    call = {"verb": "infer", "inputs": {"image": ["x/half.png"]}}
    answer, _ = _asked_in_memory(app, call, {"x/half.png": half})
    with pytest.raises(apps.AppError) as error:
        app.infer(tmp_path / "half.png", out=tmp_path / "out")
    told = {"code": "mistake", "message": str(error.value)}
    assert answer == {"id": 7, "error": told}
    answer, _ = _asked_in_memory(app, {**call, "inputs": {"image": ["y.png"]}}, {})
    assert "'y.png' of 'image' does not exist" in answer["error"]["message"]
    tuning = {"verb": "fine-tune", "steps": 1}
    answer, _ = _asked_in_memory(app, tuning, {})
    assert "a folder for what it makes" in answer["error"]["message"]


def test_a_worker_tells_how_far_it_is_unless_asked_not_to(app, digits, tmp_path):
    call = {"verb": "infer", "inputs": {"image": [f"{digits}/d0.png"]}}
    request = {"call": call, "out": f"{tmp_path}/a", "tells_progress": False}
    target = io.BytesIO()
    apps.serve_lines(app, io.BytesIO(json.dumps(request).encode()), target)
    _, answer = map(json.loads, target.getvalue().splitlines())
    assert answer["result"]["cases"] == ["d0"]


def test_a_worker_tells_a_full_disk(app, digits, tmp_path, monkeypatch):
    """The error comes where results are made, or wrapped in one of the app."""

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    call = {"verb": "infer", "inputs": {"image": [f"{digits}/d0.png"]}}
    for name in ("mkdir", "write_bytes"):
        request = json.dumps({"call": call, "out": f"{tmp_path}/{name}"})
        target = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(pathlib.Path, name, fail)
            apps.serve_lines(app, io.BytesIO(request.encode()), target)
        assert json.loads(target.getvalue().splitlines()[-1])["error"]["code"] == (
            "disk_full"
        )
