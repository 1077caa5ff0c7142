"""What cannot be done is refused before a job is made of it, in the words of `App`."""

from __future__ import annotations

import json

import httpx
import pytest

from kauldron import kd
from tests.apps.bundles import made
from tests.apps.jobs import plain_server


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    path = tmp_path_factory.mktemp("apps") / "tissues"
    return path, made.write(path, trusted_to_train=("mine",))


@pytest.fixture(scope="module")
def http(tmp_path_factory, manifest):
    state = tmp_path_factory.mktemp("served") / "state"
    with (
        plain_server.in_thread(state, [manifest[0]]) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "call, match",
    [
        ({"verb": "uncertainty", "ensemble": 1}, "Uncertainty is how far"),
        (
            {"verb": "pipeline", "ensemble": 1, "with_uncertainty": True},
            "Uncertainty is how far",
        ),
        (
            {"verb": "fine-tune", "steps": 3, "data": "new", "inputs": {}},
            "training of the app 'tissues' runs code of 'mine'",
        ),
        (
            {"verb": "infer", "inputs": {"t1": ("a.nii", "b.nii"), "t2": ("c.nii",)}},
            "equally many",
        ),
        ({"verb": "infer", "inputs": {"t2": ("a.nii",)}}, "needs the input 't1'"),
        ({"verb": "infer", "inputs": {"t3": ("a.nii",)}}, "no input 't3'"),
        ({"verb": "infer", "overrides": {"seed": 1}}, "does not let a call set"),
        ({"verb": "evaluate"}, "--reference=tissue=FILE"),
        ({"verb": "infer", "mc": 9}, "up to 8 draws"),
    ],
)
def test_it_is_refused_at_once_here_and_there_in_the_same_words(
    http, manifest, tmp_path, call, match
):
    path, _ = manifest
    asked = {"inputs": {"t1": ("a.nii",)}, **call}
    for paths in asked["inputs"].values():
        for name in paths:
            (tmp_path / name).write_bytes(b"x")
    with kd.apps.App(path) as app, pytest.raises(kd.apps.AppError, match=match) as here:
        inside = kd.apps.Call(**asked).inside(tmp_path)
        app.call(inside, out=tmp_path / "out")
    files = [
        (f"inputs.{port}", (name, b"x"))
        for port, paths in asked["inputs"].items()
        for name in paths
    ]
    names = ("verb", "inputs", "data")
    options = {k: v for k, v in asked.items() if k not in names}
    answer = http.post(
        f"/apps/tissues/{asked['verb']}",
        data={"options": json.dumps(options)},
        files=files or [("dataset", ("a/b.npy", b"x"))],
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["message"] == str(here.value)
    remote = kd.apps.Client(str(http.base_url)).app("tissues")
    with pytest.raises(kd.apps.AppError) as there:
        remote.call(inside, out=tmp_path / "out")
    assert str(there.value) == str(here.value)
    assert http.get("/jobs").json()["jobs"] == []
    assert not (tmp_path / "out").exists()


def test_cases_of_folders_are_counted_before_a_job_is_made(http):
    series = [("inputs.t1", (f"s/{i}.nii", b"x")) for i in range(2)]
    files = [*series, ("inputs.t2", ("c.nii", b"x"))]
    answer = http.post("/apps/tissues/infer", files=files)
    told = answer.json()["error"]["message"]
    assert answer.status_code == 422 and told.endswith("got {'t1': 2, 't2': 1}.")
    files = [("inputs.t1", ("s/notes.txt", b"x"))]
    answer = http.post("/apps/tissues/infer", files=files)
    told = answer.json()["error"]["message"]
    assert answer.status_code == 422
    assert told.startswith("The folder 's' has no file of the kind 'volume'")
    assert http.get("/jobs").json()["jobs"] == []


def test_a_server_says_what_it_cannot_run(http):
    told = http.get("/repo_apps/tissues").json()
    assert told["finetunable"] is False and "fine-tune" not in told["capabilities"]


def test_an_app_that_needs_code_is_not_served(tmp_path):
    made.write(tmp_path / "app", trusted=("mine",))
    with (
        pytest.raises(kd.apps.AppError, match="a server never runs such code"),
        plain_server.in_thread(tmp_path / "state", [tmp_path / "app"]),
    ):
        pass


def test_an_app_whose_metrics_need_code_is_served_without_them(tmp_path):
    made.write(tmp_path / "app", trusted_to_evaluate=("mine",))
    files = [("inputs.t1", ("a.nii", b"x")), ("references", ("b.nii", b"x"))]
    told = []
    with (
        plain_server.in_thread(tmp_path / "state", [tmp_path / "app"]) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        verbs = http.get("/repo_apps/tissues").json()["capabilities"]
        for verb in ("evaluate", "pipeline"):
            answer = http.post(f"/apps/tissues/{verb}", files=files)
            assert answer.status_code == 422, answer.text
            told.append(answer.json()["error"]["message"])
        remote = kd.apps.Client(url).app("tissues")
        for path in ("a.nii", "b.nii"):
            (tmp_path / path).write_bytes(b"x")
        with pytest.raises(kd.apps.AppError) as there:
            remote.pipeline(
                tmp_path / "a.nii", tmp_path / "b.nii", out=tmp_path / "out"
            )
        assert http.get("/jobs").json()["jobs"] == []
        assert http.post("/apps/tissues/pipeline", files=files[:1]).status_code == 202
    assert "evaluate" not in verbs and {"infer", "pipeline"} <= set(verbs)
    assert set(told) == {str(there.value)}
    assert told[0].startswith("Measuring the app 'tissues' runs code of 'mine'")


def test_an_app_that_has_gone_is_told_at_once(tmp_path):
    made.write(tmp_path / "app")
    with (
        plain_server.in_thread(tmp_path / "state", [tmp_path / "app"]) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        (tmp_path / "app" / "app.json").unlink()
        answer = http.post(
            "/apps/tissues/infer", files=[("inputs.t1", ("a.nii", b"x"))]
        )
        assert answer.status_code == 503 and "cannot be read" in answer.text
        assert http.get("/jobs").json()["jobs"] == []
