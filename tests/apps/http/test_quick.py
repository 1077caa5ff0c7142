"""Calls that a warm app answers in memory: the same answer, and nothing is written."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import httpx
import pytest

from tests.apps.http import conftest
from tests.apps.jobs import plain_server

_WAIT = {"Prefer": "wait=30"}


@contextlib.contextmanager
def _server(state, app_path, *, make=plain_server.command_in_memory, **changes):
    warm = {"warm": ["tissues"], "make": make}
    with (
        plain_server.in_thread(state, [app_path], **warm, **changes) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        deadline = time.monotonic() + 30
        while not http.get("/repo_apps/tissues").json()["is_warm"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield conftest.Asking(http)


@pytest.fixture
def no_folders(monkeypatch):
    """Fails where a folder for a call is asked for."""

    def refuse(*args, **kwargs):
        raise AssertionError("a folder")

    from kauldron.apps.jobs import _folders

    def forbid():
        monkeypatch.setattr(_folders.StateDir, "upload", refuse)

    return forbid


def test_a_small_call_needs_no_folder(tmp_path, app_path, no_folders):
    with _server(tmp_path / "state", app_path) as ask:
        no_folders()
        for _ in range(2):
            answer = ask(headers=_WAIT, print=["x"])
            assert answer.status_code == 200, answer.text
            assert answer.headers["preference-applied"] == "wait"


@pytest.mark.parametrize(
    "asked",
    [
        {"print": ["x"]},
        {"traceback": True},  # a mistake of the caller
        {"fill": 2 << 20},  # too large an answer to be kept in memory
    ],
)
def test_the_answer_is_the_same_with_files_and_without(tmp_path, app_path, asked):
    answers = []
    for make in (plain_server.command, plain_server.command_in_memory):
        with _server(tmp_path / make.__name__, app_path, make=make) as ask:
            answers.append(ask(headers=_WAIT, **asked))
    one, other = answers
    assert one.status_code == other.status_code
    assert one.content == other.content
    assert str(tmp_path) not in one.text


def test_what_is_no_call_of_a_worker_becomes_a_job(tmp_path, app_path):
    state = tmp_path / "state"
    series = [("inputs.t1", (f"s/{i}.dcm", b"{}")) for i in range(2)]
    with _server(state, app_path) as ask:
        answer = ask(headers=_WAIT, data={"cpu": "1"})
        assert answer.status_code == 200, answer.text
        (folder,) = (state / "jobs").iterdir()
        assert (folder / "inputs/inputs.t1/0/scan.nii.gz").read_bytes() == b"{}"
        refused = ask(headers=_WAIT, data={"mc": "99"})
        assert refused.status_code == 422 and "up to 8 draws" in refused.text
        # The worker sees a folder, which the one of this test cannot read.
        assert ask(headers=_WAIT, files=series).status_code == 507
        assert conftest.left_in(state) == []


def test_limits_are_those_of_all_uploads(tmp_path, app_path):
    limits = {"max_file_bytes": 1000, "max_files": 2, "max_field_bytes": 100}
    with _server(tmp_path / "state", app_path, **limits) as ask:
        scan = ("inputs.t1", ("a.nii", bytes(1001)))
        assert ask(headers=_WAIT, files=[scan]).status_code == 413
        many = [("inputs.t1", (f"{i}.nii", b"x")) for i in range(3)]
        assert ask(headers=_WAIT, files=many).status_code == 413
        assert ask(headers=_WAIT, data={"options": "x" * 101}).status_code == 413
        assert ask(headers=_WAIT).status_code == 200


def test_a_worker_that_is_killed_in_a_call_is_told_and_starts_again(tmp_path, app_path):
    state = tmp_path / "state"
    with _server(state, app_path) as ask:
        assert ask(headers=_WAIT).status_code == 200
        pid = int((state / "workers/tissues/process").read_text())
        os.kill(pid, signal.SIGKILL)
        answers = [ask(headers=_WAIT) for _ in range(2)]
        assert answers[-1].status_code == 200
        assert answers[0].status_code in (200, 500)
        assert int((state / "workers/tissues/process").read_text()) != pid


def test_a_worker_that_breaks_off_answers_nobody_with_half_a_result(tmp_path, app_path):
    state = tmp_path / "state"
    with _server(state, app_path) as ask:
        assert ask(headers=_WAIT).status_code == 200
        answer = ask(headers=_WAIT, code=3)  # the process ends in the call
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "worker_ended"
        assert ask(headers=_WAIT).status_code == 200
