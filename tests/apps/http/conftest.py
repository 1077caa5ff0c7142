"""One server on a loopback port for a module, over an app that computes nothing."""

from __future__ import annotations

import json
import pathlib

import httpx
import pytest

from tests.apps.jobs import plain_server

_LIMITS = {"max_file_bytes": 300_000, "max_request_bytes": 500_000, "max_files": 20}


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """The state directory of the server."""
    return tmp_path_factory.mktemp("served") / "state"


@pytest.fixture(scope="module")
def http(state, app_path):
    """A client of the server."""
    with (
        plain_server.in_thread(state, [app_path], **_LIMITS) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


class Asking:
    """Sends calls with files that say what happens to them."""

    def __init__(self, client):
        self._client = client

    def __call__(self, verb="infer", *, files=None, data=None, headers=None, **what):
        scan = ("inputs.t1", ("scan.nii.gz", json.dumps(what).encode()))
        return self._client.post(
            f"/apps/tissues/{verb}",
            files=[scan] if files is None else files,
            data=data,
            headers=headers,
        )

    def done(self, **what):
        """Returns the id of a job that has ended."""
        response = self(**what)
        assert response.status_code == 202, response.text
        self._client.get(response.json()["logs_url"])
        return response.json()["job_id"]


@pytest.fixture
def ask(http):
    return Asking(http)


def left_in(state: pathlib.Path) -> list[str]:
    """Names of what is in the folder of uploads."""
    return [path.name for path in (state / "uploads").iterdir()]
