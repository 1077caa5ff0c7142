"""A client sends what a command reads here: folders, equal names, tables; and is told why."""

from __future__ import annotations

import pathlib

import pytest

from kauldron import kd
from kauldron.apps.client import _events, _forms
from tests.apps.jobs import plain_server


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("served") / "state"


@pytest.fixture(scope="module")
def client(state, app_path):
    with (
        plain_server.in_thread(state, [app_path]) as url,
        kd.apps.Client(url, patience_secs=1) as client,
    ):
        yield client


def _sent(state, client):
    """The files of the newest job, as the server has them."""
    folder = state / "jobs" / client.jobs()[0]["job_id"] / "inputs"
    files = [x.relative_to(folder) for x in folder.rglob("*") if x.is_file()]
    return sorted(x.as_posix() for x in files)


def test_a_call_gives_a_result_and_tells_how_far_it_is(client, told, tmp_path):
    seen = []
    call = kd.apps.Call(verb="infer", inputs={"": (str(told(sleep=0.3)),)}, tta=1)
    result = client.app("tissues").call(
        call, out=tmp_path / "out", progress=lambda *told: seen.append(told)
    )
    assert seen == [(0.5, "infer of 1")]
    assert result.values == {"overall": {"dice": 0.5}}
    assert (tmp_path / "out" / "copy.npy").read_text() == '{"sleep": 0.3}'
    assert sorted(x.name for x in (tmp_path / "out").iterdir()) == [
        *("copy.npy", "result.json")
    ]


def test_series_and_files_of_equal_names_are_kept_apart(client, state, told, tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        (folder / "series").mkdir(parents=True)
        (folder / "series" / "1.dcm").write_text('{"sleep": 0}')
        (folder / "scan.nii").write_text("{}")
    app = client.app("tissues")
    scans = [first / "scan.nii", second / "scan.nii"]
    series = [first / "series", second / "series"]
    app.infer({"t1": scans, "t2": series}, out=tmp_path / "out")
    assert _sent(state, client) == [
        *("inputs.t1/e0/scan.nii", "inputs.t1/e1/scan.nii"),
        *("inputs.t2/e0/series/1.dcm", "inputs.t2/e1/series/1.dcm"),
    ]


def test_mistakes_are_told_before_anything_is_sent(client, told, tmp_path):
    app, before = client.app("tissues"), client.jobs()
    scan = told()
    with pytest.raises(kd.apps.AppError, match="up to 2 augmented copies"):
        app.infer(scan, tta=3, out=tmp_path / "out")
    with pytest.raises(kd.apps.AppError, match="does not exist"):
        app.infer(tmp_path / "nothing.nii", out=tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(kd.apps.AppError, match="has files in it"):
        app.infer(scan, out=tmp_path / "full")
    with pytest.raises(kd.apps.AppError, match=r"no app 'tisues'.*Did you mean"):
        client.app("tisues")
    with pytest.raises(kd.apps.AppError, match="no job 'abc'"):
        client.cancel("abc")
    assert client.jobs() == before


def test_a_job_that_failed_says_why(client, told, tmp_path):
    scan = told(error="two channels, and the app reads one", code=2)
    with pytest.raises(kd.apps.ServerError, match="two channels"):
        client.app("tissues").infer(scan, out=tmp_path / "out")


def test_a_server_that_does_not_answer_is_told(tmp_path):
    with pytest.raises(kd.apps.ServerError, match=r"cannot be reached.*apps serve"):
        kd.apps.Client("http://127.0.0.1:1").apps()
    for url in ("http://[bad", "127.0.0.1:8001", "ftp://x", ""):
        with pytest.raises(kd.apps.AppError, match="has an address such as"):
            kd.apps.Client(url)


def test_a_server_that_is_too_busy_is_asked_again(tmp_path, app_path, told):
    with plain_server.in_thread(tmp_path / "busy", [app_path], max_jobs=1) as url:
        client = kd.apps.Client(url, patience_secs=0)
        folder, app = tmp_path / "busy" / "jobs", client.app("tissues")
        slow = told("slow.nii", sleep=30)
        call = kd.apps.Call(verb="infer", inputs={"": (str(slow),)})

        def stop(share, text):
            raise KeyboardInterrupt

        def refused(share, text):
            with pytest.raises(kd.apps.ServerError, match="Too many jobs"):
                app.infer(slow, out=tmp_path / "b")
            stop(share, text)

        with pytest.raises(KeyboardInterrupt):
            app.call(call, out=tmp_path / "a", progress=refused)
        assert client.jobs()[0]["status"] == "cancelled" and folder.exists()


def test_forms_have_the_length_that_they_say(tmp_path):
    path = tmp_path / 'a "b".nii'
    path.write_bytes(bytes(600_000))
    form = _forms.Form([("options", "{}")], _forms.parts_of("inputs", 3, str(path)))
    sizes = [len(piece) for piece in form.pieces()]
    assert sum(sizes) == int(form.headers["Content-Length"])
    assert max(sizes) <= 2**18
    assert b'filename="a %22b%22.nii"' in b"".join(form.pieces())


def test_events_are_read_as_they_are_defined():
    lines = ["retry: 10", "", ": ping", "", "id: 7", "data: a", "data:b", ""]
    lines += ["event: end", "data: __DONE__", "", "data: cut"]
    assert list(_events.read_events(lines)) == [
        _events.Event("7", "message", "a\nb"),
        _events.Event("7", "end", "__DONE__"),
    ]


def test_nothing_of_the_client_needs_jax():
    import subprocess
    import sys

    code = "import sys; from kauldron import apps; apps.Client, apps.serve; "
    code += "print([m for m in ('jax', 'flax', 'numpy') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parents[3],
    )
    assert done.stdout == "[]\n", done.stderr
