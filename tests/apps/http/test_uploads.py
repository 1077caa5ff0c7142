"""Uploads: files as they were sent, within limits; what is malformed leaves nothing."""

from __future__ import annotations

import asyncio
import io
import json
import pathlib
import random
import time
import zipfile

import httpx
import pytest

from kauldron.apps import Limits
from kauldron.apps.http import _errors, _forms, _places, _service, _whole_forms
from kauldron.apps.http import _uploads as uploads
from tests.apps.http import conftest
from tests.apps.jobs import plain_server

_BOUNDARY = b"x-----boundary-----x"


def _part(name, data, filename=None, headers=b"", boundary=_BOUNDARY):
    more = b"" if filename is None else b'; filename="' + filename.encode() + b'"'
    head = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + more
    return (
        b"--" + boundary + b"\r\n" + head + b"\r\n" + headers + b"\r\n" + data + b"\r\n"
    )


def _form(*parts):
    return b"".join(parts) + b"--" + _BOUNDARY + b"--\r\n"


class _Sent:
    """A request whose body comes in pieces."""

    def __init__(self, pieces, headers=None, secs=0.0):
        kind = b"multipart/form-data; boundary=" + _BOUNDARY
        given = {b"content-type": kind} if headers is None else headers
        scope = {"path": "/", "method": "POST", "headers": list(given.items())}
        self.call = _service.AppCall(scope, self._receive, self._send)
        self._pieces, self._secs = list(pieces), secs

    async def _receive(self):
        await asyncio.sleep(self._secs)
        if not self._pieces:
            return {"type": "http.disconnect"}
        more = len(self._pieces) > 1
        return {
            "type": "http.request",
            "body": self._pieces.pop(0),
            "more_body": more,
        }

    async def _send(self, message):
        raise AssertionError(message)


def _read(folder, pieces, secs=0.0, headers=None, **limits):
    return _read_into(_places.OnDisk(folder), pieces, secs, headers, **limits)


def _read_into(place, pieces, secs=0.0, headers=None, **limits):
    sent = _Sent(pieces, headers, secs)
    reading = uploads.read_form(sent.call, place, Limits(**limits), _forms.takes_file)
    return asyncio.run(reading)


def _files(folder):
    found = folder.rglob("*")
    return {
        x.relative_to(folder).as_posix(): x.read_bytes() for x in found if x.is_file()
    }


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10**6])
def test_files_do_not_depend_on_how_the_body_is_cut(tmp_path, size):
    rng = random.Random(size)
    tricky = b"\r\n--" + _BOUNDARY[:-1] + b"\r\n-" + rng.randbytes(200) + b"\r\n"
    body = _form(
        _part("tta", b"2"),
        _part("inputs.t1", tricky, "a.nii"),
        _part("inputs.t1", b"", "empty.nii"),
        _part("options", b"{}"),
    )
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    form = _read(tmp_path, pieces)
    assert form.fields == {"tta": ["2"], "options": ["{}"]}
    assert _files(tmp_path) == {
        "inputs.t1/0/a.nii": tricky,
        "inputs.t1/0/empty.nii": b"",
    }
    assert list(form.files["inputs.t1"]) == [
        "inputs.t1/0/a.nii",
        "inputs.t1/0/empty.nii",
    ]


def test_files_of_one_name_are_kept_apart_and_folders_together(tmp_path):
    names = ["a.nii", "s/1.dcm", "a.nii", "s/2.dcm", "a.nii"]
    parts = [_part("inputs", f"{i}".encode(), name) for i, name in enumerate(names)]
    numbered = [
        _part("gt", b"x", "s/1.dcm", b"Kauldron-Entry: 0\r\n"),
        _part("gt", b"y", "s/1.dcm", b"Kauldron-Entry: 1\r\n"),
    ]
    form = _read(tmp_path, [_form(*parts, *numbered)])
    found = list(form.files["inputs"])
    assert found == ["inputs/0/a.nii", "inputs/0/s", "inputs/1/a.nii", "inputs/2/a.nii"]
    assert _files(tmp_path / "inputs/0/s") == {"1.dcm": b"1", "2.dcm": b"3"}
    assert list(form.files["gt"]) == ["gt/e0/s", "gt/e1/s"]
    assert form.has_folders


def _usual_and_odd_forms():
    """Bodies, and whether they are of the usual kind."""
    rng = random.Random(0)
    plain = [
        _part("options", b"{}"),
        _part("inputs", rng.randbytes(300), "a.png", b"Content-Type: image/png\r\n"),
        _part("gt", b"x", "s/1.dcm", b"Kauldron-Entry: 3\r\n"),
        _part("inputs.t1", b"\r\n--" + _BOUNDARY[:-1] + b"\r\n", "b c-é.nii"),
        _part("masks", b"", ""),
    ]
    yield _form(*plain), True
    yield _form(*plain)[:-2], True  # the last line need not end
    yield _form(_part("tta", b"2", headers=b"X-Own: 1\r\n"), *plain), False
    yield _form(_part("inputs", b"x", 'a\\".png')), False
    yield _form(_part("inputs", b"x", "a%22.png")), False
    yield b"a preamble\r\n" + _form(*plain), False
    yield _form(*plain) + b"an epilogue", False
    yield _form(_part("inputs", b"a\r\n--" + _BOUNDARY + b"x", "a.png")), False


@pytest.mark.parametrize("body, is_usual", list(_usual_and_odd_forms()))
def test_a_form_in_one_piece_is_read_as_one_in_many(tmp_path, body, is_usual):
    assert (_whole_forms.parts_of(body, _BOUNDARY) is not None) == is_usual
    found = []
    for number, size in enumerate((len(body), 7)):
        pieces = [body[i : i + size] for i in range(0, len(body), size)]
        folder, memory = tmp_path / f"{number}", _places.InMemory()
        folder.mkdir()
        try:
            form = _read(folder, pieces)
        except _errors.HttpError as error:
            found.append((error.status, error.message))
            continue
        assert _read_into(memory, pieces) == form
        assert memory.contents() == _files(folder)
        memory.write_to(tmp_path / f"copy_{number}")
        assert _files(tmp_path / f"copy_{number}") == _files(folder)
        found.append((form, _files(folder)))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "names", [["a.nii", "a.nii"], ["a", "a/b"], ["s/a", "s/a"], ["s/a/b", "s/a"]]
)
def test_files_that_cannot_be_together_are_refused_wherever_they_go(tmp_path, names):
    entry = b"Kauldron-Entry: 0\r\n"
    body = _form(*(_part("inputs", b"x", name, entry) for name in names))
    for place in (_places.OnDisk(tmp_path), _places.InMemory()):
        with pytest.raises(_errors.HttpError, match="Two files are called") as error:
            _read_into(place, [body])
        assert error.value.status == 422


def test_names_do_not_lead_out_of_the_folder(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    names = ["../../out", "/etc/out", "..\\..\\out", "..", "a/../../../out"]
    _read(folder, [_form(*(_part("inputs", b"x", name) for name in names))])
    outside = [
        x for x in tmp_path.rglob("*") if x.is_file() and folder not in x.parents
    ]
    assert outside == []
    with pytest.raises(_errors.HttpError, match="no field"):
        _read(folder, [_form(_part("../../inputs", b"x", "out"))])


@pytest.mark.parametrize(
    "limits, parts, status",
    [
        ({"max_file_bytes": 10}, [_part("inputs", b"x" * 11, "a")], 413),
        (
            {"max_request_bytes": 15},
            [_part("inputs", b"x" * 10, f"{i}") for i in range(2)],
            413,
        ),
        ({"max_files": 1}, [_part("inputs", b"x", f"{i}") for i in range(2)], 413),
        ({"max_field_bytes": 10}, [_part("options", b"x" * 11)], 413),
        ({}, [_part("inputs", b"x", "a/" * 40 + "a")], 422),
        ({}, [_part("options", b"x")] * 12_000, 413),
    ],
)
def test_what_is_too_large_is_refused(tmp_path, limits, parts, status):
    with pytest.raises(_errors.HttpError) as error:
        _read(tmp_path, [_form(*parts)], **limits)
    assert error.value.status == status


def test_a_body_that_says_that_it_is_too_long_is_not_read(tmp_path):
    kind = b"multipart/form-data; boundary=" + _BOUNDARY
    headers = {b"content-type": kind, b"content-length": b"99999999999"}
    with pytest.raises(_errors.HttpError, match="up to 6000000000 bytes"):
        _read(tmp_path, [], headers=headers)


def test_clients_that_are_silent_or_slow_lose_their_place(tmp_path):
    started = time.monotonic()
    with pytest.raises(_errors.HttpError, match="too slowly"):
        _read(tmp_path, [b"--"] * 3, secs=60, silence_secs=1)
    drops = [_part("inputs", b"x" * 1000, "a")[i : i + 1] for i in range(1000)]
    with pytest.raises(_errors.HttpError, match="too slowly"):
        _read(tmp_path, drops, secs=0.05, silence_secs=1)
    assert time.monotonic() - started < 10


def _malformed(number):
    """A hundred bodies: whole ones that are cut, changed, mixed up, or of another kind."""
    rng = random.Random(number)
    body = _form(
        _part("inputs.t1", rng.randbytes(300), "a.nii"), _part("options", b"{}")
    )
    kind = b"multipart/form-data; boundary=" + _BOUNDARY
    match number % 10:
        case 0:
            return kind, body[: rng.randrange(len(body) - 25)]
        case 1:
            return kind, body.replace(_BOUNDARY, b"other", rng.randrange(1, 3))
        case 2:
            return b"multipart/form-data", body
        case 3:
            return kind + b"x", body
        case 4:
            return kind, body.replace(b"name=", rng.choice([b"nm=", b"", b'"="']))
        case 5:
            return kind, body.replace(
                b"inputs.t1", rng.choice([b"", b"t1", b"x" * 200])
            )
        case 6:
            return kind, rng.randbytes(rng.randrange(500))
        case 7:
            return rng.choice([b"application/json", b"", b"a;b=c;", b"\xff"]), body
        case 8:
            return kind, body.replace(b"{}", rng.choice([b"{", b"[]", b"\xff", b'"a"']))
        case _:
            return kind, body.replace(
                b"Content-Disposition", b"X" * rng.randrange(1, 9000)
            )


def test_a_hundred_malformed_uploads_end_in_a_short_refusal_and_leave_no_file(
    http, state
):
    jobs = http.get("/jobs").json()
    for number in range(100):
        kind, body = _malformed(number)
        headers = [(b"Content-Type", kind)]
        answer = http.post("/apps/tissues/infer", content=body, headers=headers)
        assert 400 <= answer.status_code < 500, (number, answer.text)
        error = answer.json()["error"]
        assert set(error) == {"code", "message"} and len(error["message"]) < 500
        assert str(state) not in answer.text and "Traceback" not in answer.text
    assert conftest.left_in(state) == []
    assert http.get("/jobs").json() == jobs


def _zip(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members:
            z.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize(
    "archive, status",
    [
        (_zip([("bomb", bytes(300_001))]), 413),
        (_zip([(f"{i}", bytes(290_000)) for i in range(2)]), 413),
        (_zip([(f"{i}", b"") for i in range(21)]), 413),
        (_zip([("../out.txt", b"x")]), 400),
        (b"no zip", 400),
    ],
)
def test_archives_of_a_fine_tuning_have_the_limits_of_all_uploads(
    ask, state, archive, status
):
    files = [("dataset", ("data.zip", archive))]
    answer = ask("fine_tune", files=files, data={"steps": "1"})
    assert answer.status_code == status, answer.text
    assert conftest.left_in(state) == []
    assert not list(state.rglob("out.txt"))


def test_a_data_set_comes_as_a_zip_or_as_a_folder(http, ask, state):
    zipped = [("dataset", ("data.zip", _zip([("train/a.npy", b"1")])))]
    plain = [("dataset", ("mine/train/a.npy", b"1"))]
    for files, folder in ((zipped, "data"), (plain, "dataset/0/mine")):
        answer = ask("fine_tune", files=files, data={"steps": "1"})
        assert answer.status_code == 202, answer.text
        job = state / "jobs" / answer.json()["job_id"]
        assert (job / "inputs" / folder / "train" / "a.npy").read_bytes() == b"1"
        http.post(answer.json()["status_url"] + "/kill")


def test_a_client_that_goes_away_leaves_no_file(http, state):
    url = str(http.base_url)

    def pieces():
        yield _part("inputs.t1", bytes(100_000), "a.nii")[:-2]
        raise ConnectionResetError

    kind = f"multipart/form-data; boundary={_BOUNDARY.decode()}"
    with pytest.raises(ConnectionResetError), httpx.Client() as client:
        client.post(
            f"{url}/apps/tissues/infer",
            content=pieces(),
            headers={"Content-Type": kind},
        )
    deadline = time.monotonic() + 10
    while conftest.left_in(state) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert conftest.left_in(state) == []


def test_nothing_of_the_machine_is_in_an_answer(http, ask, state, app_path):
    """No folder, no token, no traceback: neither in logs nor in errors."""
    line = f"reading {state}/jobs/x/inputs/a.nii and {app_path}/config.json"
    job_id = ask.done(print=[line], traceback=True)
    texts = [
        http.get(f"/jobs/{job_id}{part}").text
        for part in ("", "/logs", "/result", "/files")
    ]
    texts += [http.get(path).text for path in ("/jobs", "/repo_apps/tissues")]
    for text in texts:
        for word in (
            str(state),
            str(pathlib.Path(app_path).parent),
            "Traceback",
            ".py",
        ):
            assert word not in text
    assert "reading a.nii and config.json" in texts[1]
    assert json.loads(texts[0])["error"] == (
        "The job failed with exit code 1; the log of the server says why."
    )


@pytest.fixture
def small_disk(tmp_path):
    """Folder on a disk of its own, 8 MiB large."""
    import os
    import subprocess

    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a disk takes root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_refuses_uploads_fails_jobs_and_loses_no_result(
    small_disk, app_path
):
    with (
        plain_server.in_thread(small_disk / "state", [app_path]) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        ask = conftest.Asking(http)
        before = ask.done()
        large = ask(files=[("inputs.t1", ("a.nii", bytes(9 << 20)))])
        assert large.status_code == 507 and "disk" in large.json()["error"]["message"]

        def chunked():  # of a length that nobody knows
            yield _part("inputs.t1", bytes(9 << 20), "a.nii") + _form()

        kind = f"multipart/form-data; boundary={_BOUNDARY.decode()}"
        answer = http.post(
            "/apps/tissues/infer", content=chunked(), headers={"Content-Type": kind}
        )
        assert answer.status_code == 507, answer.text
        assert conftest.left_in(small_disk / "state") == []
        job_id = ask.done(fill=20 << 20)
        told = http.get(f"/jobs/{job_id}").json()
        assert told["status"] == "failed"
        http.delete(f"/jobs/{job_id}")
        assert http.get(f"/jobs/{before}/result").status_code == 200
        after = ask.done()
        assert http.get(f"/jobs/{after}").json()["status"] == "done"
