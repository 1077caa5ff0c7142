"""Servers that are killed, clients that go or dawdle, many at once: nothing is lost."""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys
import time
import zipfile

import httpx
import pytest

from kauldron import kd
from tests.apps.http import conftest
from tests.apps.jobs import plain_server

_ROOT = pathlib.Path(__file__).parents[3]


@contextlib.contextmanager
def _server(state, app_path, **changes):
    """Yields the process of a server, and a client of it."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.apps.jobs.plain_server", str(state)),
            *(json.dumps(changes), str(app_path)),
        ],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        ready, _, _ = select.select([process.stdout], [], [], 60)
        assert ready, "the server did not start"
        url = process.stdout.readline().strip()
        with httpx.Client(base_url=url, timeout=60) as http:
            yield process, http
    finally:
        process.kill()
        process.communicate()


def _until(condition, secs=30):
    deadline = time.monotonic() + secs
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def _status(http, job_id):
    return http.get(f"/jobs/{job_id}").json()["status"]


def _begin_upload(http, size=10**6):
    """Sends the first half of an upload; returns its socket."""
    host, port = http.base_url.host, http.base_url.port
    connection = socket.create_connection((host, port))
    head = (
        f"POST /apps/tissues/infer HTTP/1.1\r\nhost: {host}:{port}\r\n"
        "content-type: multipart/form-data; boundary=b\r\n"
        f"content-length: {size}\r\n\r\n--b\r\n"
        'content-disposition: form-data; name="inputs"; filename="a.nii"\r\n\r\n'
    )
    connection.sendall(head.encode() + bytes(size // 2))
    return connection


def test_a_server_that_is_killed_loses_no_job(tmp_path, app_path):
    """During an upload, a job that runs, one that waits, and a result that is sent."""
    state = tmp_path / "state"
    with _server(state, app_path) as (process, http):
        ask = conftest.Asking(http)
        done = ask.done(fill=5 << 20)
        result = http.get(f"/jobs/{done}/result").content
        running = ask(sleep=60, print=["begun"]).json()["job_id"]
        waiting = ask().json()["job_id"]
        folder = state / "jobs" / running
        _until(lambda: (folder / "process").exists() and (folder / "log.txt").stat())
        upload = _begin_upload(http)
        _until(lambda: any((state / "uploads").iterdir()))
        cut = None
        broken = contextlib.suppress(httpx.TransportError)
        with broken, http.stream("GET", f"/jobs/{done}/result") as response:
            pieces = response.iter_bytes(1000)
            cut = next(pieces)
            process.send_signal(signal.SIGKILL)
            process.wait()
            cut += b"".join(pieces)
        assert cut is not None and len(cut) < len(result)
        upload.close()
        pid = int((folder / "process").read_text())
        os.kill(pid, 0)  # its session is its own
    with _server(state, app_path) as (process, http):
        assert http.get(f"/jobs/{done}/result").content == result
        assert _status(http, running) == "interrupted"
        answer = http.get(f"/jobs/{running}/result")
        assert answer.status_code == 409 and "run it again" in answer.text
        assert not _is_alive(pid)
        _until(lambda: _status(http, waiting) == "done")
        assert not any((state / "uploads").iterdir())
        (folder / "inputs/inputs.t1/0/scan.nii.gz").write_text("{}")
        assert http.post(f"/jobs/{running}/run_again").status_code == 202
        _until(lambda: _status(http, running) == "done")
        # SIGTERM ends it well, also while a log is followed.
        slow = conftest.Asking(http)(sleep=60).json()["job_id"]
        with http.stream("GET", f"/jobs/{slow}/logs") as stream:
            pieces = stream.iter_bytes()
            next(pieces)
            started = time.monotonic()
            process.terminate()
            assert b"event: end" not in b"".join(pieces)
        assert process.wait(30) == 0 and time.monotonic() - started < 20


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_worker_does_not_outlive_a_server_that_is_killed(
    tmp_path, app_path, in_memory
):
    """In the middle of a call, which is not lost: its client sees that it broke off."""
    state = tmp_path / "state"
    warm = {"warm": ["tissues"], "in_memory": in_memory}
    with _server(state, app_path, **warm) as (process, http):
        _until(lambda: http.get("/repo_apps/tissues").json()["is_warm"])
        number = state / "workers/tissues/process"
        pid = int(_until(lambda: number.exists() and number.read_text()))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(
                conftest.Asking(http), headers={"Prefer": "wait=60"}, sleep=60
            )
            memory = (state / "memory").resolve()
            if in_memory:  # there is nothing to be seen
                time.sleep(1)
            else:
                folders = memory, state / "uploads"
                _until(lambda: any(any(folder.iterdir()) for folder in folders))
            process.kill()
            with pytest.raises(httpx.TransportError):
                asked.result()
        assert _is_alive(pid)
    with _server(state, app_path) as (_, http):  # where it is not warm any more
        assert http.get("/health").status_code == 200
        assert not _is_alive(pid) and not any((state / "uploads").iterdir())
        assert memory != (state / "memory").resolve()
        assert not (memory.name.startswith("kauldron_apps_") and memory.exists())


def _is_alive(pid):
    try:
        return (
            pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
        )
    except OSError:
        return False


def test_a_client_goes_on_when_the_server_comes_back(tmp_path, app_path, told):
    """The stream of a log breaks off, and is taken up behind the last line."""
    state, port = tmp_path / "state", _free_port()
    scan = told(print=["a", "b"], sleep=0.5)
    seen = []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with plain_server.in_thread(state, [app_path], port=port) as url:
            app = kd.apps.Client(url, patience_secs=30).app("tissues")
            call = kd.apps.Call(verb="infer", inputs={"": (str(scan),)})
            asked = pool.submit(
                app.call,
                call,
                out=tmp_path / "out",
                progress=lambda share, text: seen.append(text),
            )
            _until(lambda: seen)
        with plain_server.in_thread(state, [app_path], port=port):
            with pytest.raises(kd.apps.ServerError, match="run it again"):
                asked.result(30)
            client = kd.apps.Client(url)
            (job,) = client.jobs()
            client.run_again(job["job_id"])
            result = client.fetch(job["job_id"], out=tmp_path / "again")
            assert result.path(result.files[0]).read_bytes() == scan.read_bytes()


def _free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _in_many_threads(count, work):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def _check_many(http_url, count, per_client):
    """Each client gets its own answers, whole; returns how many there were."""

    def work(number):
        done = 0
        with httpx.Client(base_url=http_url, timeout=120) as http:
            ask = conftest.Asking(http)
            for turn in range(per_client):
                answer = ask(headers={"Prefer": "wait=100"}, print=[f"{number} {turn}"])
                assert answer.status_code == 200, answer.text
                with zipfile.ZipFile(io.BytesIO(answer.content)) as z:
                    assert json.loads(z.read("copy.npy"))["print"] == [
                        f"{number} {turn}"
                    ]
                done += 1
        return done

    return sum(_in_many_threads(count, work))


def test_many_clients_at_once_get_their_own_results(tmp_path, app_path):
    warm = ["tissues"]
    with plain_server.in_thread(tmp_path / "a", [app_path], warm=warm) as url:
        assert _check_many(url, 16, 2) == 32


@pytest.mark.slow
def test_64_clients_at_once_get_their_own_results(tmp_path, app_path):
    """By jobs of their own, and by a warm app."""
    with _server(tmp_path / "a", app_path, max_cpu_jobs=4) as (_, http):
        assert _check_many(http.base_url, 64, 1) == 64
        statuses = [job["status"] for job in http.get("/jobs").json()["jobs"]]
        assert statuses == ["done"] * 64
    for in_memory in (False, True):
        state, warm = tmp_path / f"{in_memory}", {"warm": ["tissues"]}
        with _server(state, app_path, in_memory=in_memory, **warm) as (_, http):
            assert _check_many(http.base_url, 64, 10) == 640
            assert not any((state / "uploads").iterdir())
            assert not any((state / "memory").iterdir())


def _resident_mb(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("in_memory", [False, True])
def test_ten_thousand_small_requests_leave_the_memory_as_it_was(
    tmp_path, app_path, in_memory
):
    warm = {"warm": ["tissues"], "in_memory": in_memory}
    with _server(tmp_path / "a", app_path, **warm) as (process, http):
        ask = conftest.Asking(http)
        job_id = ask.done()
        paths = [
            *("/health", "/jobs", "/repo_apps/tissues", f"/jobs/{job_id}/logs"),
            *(f"/jobs/{job_id}/result", "/nothing", f"/jobs/{job_id}/files", "/"),
        ]
        wait = {"Prefer": "wait=30"}

        def work(number):
            with httpx.Client(base_url=http.base_url, timeout=60) as client:
                for turn in range(250):
                    if turn % 5 == 0:
                        answer = conftest.Asking(client)(headers=wait)
                        assert answer.status_code == 200
                    else:
                        answer = client.get(paths[turn % len(paths)])
                        assert answer.status_code in (200, 404)

        _in_many_threads(20, work)
        middle = _resident_mb(process)
        _in_many_threads(20, work)
        assert _resident_mb(process) - middle < 8
        assert not any((tmp_path / "a" / "uploads").iterdir())
        assert not any((tmp_path / "a" / "memory").iterdir())
        # The server has loaded no JAX.
        maps = pathlib.Path(f"/proc/{process.pid}/maps").read_text()
        assert "jaxlib" not in maps


def test_a_slow_client_and_one_that_goes_hold_up_nobody(tmp_path, app_path):
    with (
        plain_server.in_thread(tmp_path / "a", [app_path], silence_secs=1) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        ask = conftest.Asking(http)
        job_id = ask.done(fill=64 << 20)
        slow, gone = _begin_upload(http), _begin_upload(http)
        host, port = http.base_url.host, http.base_url.port
        reader = socket.create_connection((host, port))
        reader.sendall(
            f"GET /jobs/{job_id}/result HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n".encode()
        )
        gone.close()
        started = time.monotonic()
        for _ in range(20):
            assert http.get("/health").status_code == 200
        assert time.monotonic() - started < 5
        assert ask(headers={"Prefer": "wait=30"}).status_code == 200
        slow.settimeout(20)
        assert b" 408 " in slow.recv(1000).split(b"\r\n")[0]
        uploads = tmp_path / "a" / "uploads"
        _until(lambda: not any(uploads.iterdir()))
        reader.close()
        slow.close()


@pytest.mark.slow
def test_two_servers_on_one_state_directory_are_refused(tmp_path, app_path):
    with _server(tmp_path / "a", app_path):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "kauldron.cli.main", "apps", "serve"),
                *(f"--apps={app_path}", "--port=0", f"--state={tmp_path / 'a'}"),
            ],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 2
    assert "Another server has the state directory" in done.stderr
