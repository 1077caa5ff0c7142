"""The routes of a server of apps: what is asked, what is answered, in every state."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile

import httpx
import pytest

from kauldron import kd
from kauldron.apps.http import _app, _forms
from kauldron.apps.http import _uploads as uploads
from tests.apps.bundles import made
from tests.apps.http import conftest
from tests.apps.jobs import plain_server


def test_a_job_is_taken_followed_and_its_result_is_a_zip(http, ask):
    response = ask(data={"tta": "1", "cpu": "true"}, print=["hello"])
    assert response.status_code == 202
    job = response.json()
    base = f"/jobs/{job['job_id']}"
    assert job == {
        "job_id": job["job_id"],
        "status": job["status"],
        "status_url": base,
        "logs_url": f"{base}/logs",
        "result_url": f"{base}/result",
        "accepted_options": {"tta": 1, "device": "cpu"},
    }
    assert len(job["job_id"]) == 12 and int(job["job_id"], 16) >= 0
    events = http.get(job["logs_url"])
    assert events.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "data: hello\n\n" in events.text
    assert events.text.endswith("event: end\ndata: __DONE__\n\n")
    assert http.get(base).json()["status"] == "done"
    result = http.get(job["result_url"])
    with zipfile.ZipFile(io.BytesIO(result.content)) as z:
        assert z.namelist() == ["copy.npy", "result.json"]
        assert json.loads(z.read("copy.npy")) == {"print": ["hello"]}
    assert http.get(job["result_url"]).content == result.content


def test_streams_go_on_behind_the_last_event_that_was_seen(http, ask):
    job_id = ask.done(print=["one", "two", "three"])
    whole = http.get(f"/jobs/{job_id}/logs").text
    events = [
        dict(x.split(": ", 1) for x in e.splitlines()) for e in whole.split("\n\n")
    ]
    two = next(event for event in events if event.get("data") == "two")
    rest = http.get(f"/jobs/{job_id}/logs", headers={"Last-Event-ID": two["id"]}).text
    assert "data: three" in rest and "data: two" not in rest
    beyond = http.get(f"/jobs/{job_id}/logs", headers={"Last-Event-ID": "999999"}).text
    assert beyond.endswith("data: __DONE__\n\n")
    wrong = http.get(f"/jobs/{job_id}/logs", headers={"Last-Event-ID": "-1"})
    assert wrong.status_code == 400


def test_results_in_every_state(http, ask):
    running = ask(sleep=30).json()["job_id"]
    waiting = ask().json()["job_id"]
    for job_id in (running, waiting):
        answer = http.get(f"/jobs/{job_id}/result")
        assert answer.status_code == 202
        assert answer.json()["status"] in ("queued", "running")
        assert http.delete(f"/jobs/{job_id}").status_code == 409
    for job_id in (waiting, running):
        assert http.post(f"/jobs/{job_id}/kill").json()["status"] == "cancelled"
        assert http.post(f"/jobs/{job_id}/kill").json()["status"] == "cancelled"
        answer = http.get(f"/jobs/{job_id}/result")
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "job_cancelled"
        assert "__ERROR__ cancelled" in http.get(f"/jobs/{job_id}/logs").text
        assert http.post(f"/jobs/{job_id}/run_again").status_code == 409
    failed = ask.done(error="no volume", code=2)
    answer = http.get(f"/jobs/{failed}/result")
    assert answer.status_code == 409
    assert answer.json() == {"error": {"code": "job_failed", "message": "no volume"}}
    done = ask.done()
    assert http.post(f"/jobs/{done}/kill").json()["status"] == "done"
    assert http.get(f"/jobs/{done}/result").status_code == 200
    assert http.delete(f"/jobs/{done}").status_code == 200
    assert http.get(f"/jobs/{done}").status_code == 404


def test_files_of_a_result_are_sent_one_by_one(http, ask):
    job_id = ask.done(fill=300)
    answer = http.get(f"/jobs/{job_id}/files").json()
    assert {"name": "large.npy", "bytes": 300} in answer["files"]
    assert answer["result"]["values"] == {"overall": {"dice": 0.5}}
    file = http.get(f"/jobs/{job_id}/files/large.npy")
    assert file.content == bytes(300)
    assert file.headers["content-type"] == "application/octet-stream"
    for name in ("nothing.npy", "../log.txt", "..%2flog.txt", "%2fetc%2fpasswd"):
        assert http.get(f"/jobs/{job_id}/files/{name}").status_code == 404


def test_a_client_that_prefers_to_wait_gets_the_result_at_once(http, ask):
    answer = ask(headers={"Prefer": "wait=30"})
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait"
    assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist()[0] == "copy.npy"
    assert ask(headers={"Prefer": "wait=30"}, error="x", code=2).status_code == 409
    assert ask(headers={"Prefer": "wait=1"}, sleep=1.5).status_code == 202


def test_what_the_server_says_of_itself(http, app_path):
    assert http.get("/health").json()["status"] == "ok"
    assert http.head("/health").text == ""
    assert http.get("/repo_apps_list").json() == {"apps": ["tissues"]}
    assert http.get("/available_devices").json() == {
        "devices_index": [],
        "devices_name": [],
    }
    memory = http.get("/ram").json()
    assert 0 < memory["used_gb"] < memory["total_gb"]
    assert http.get("/vram").status_code == 422
    assert http.get("/vram?devices=0").status_code == 400
    told = http.get("/repo_apps/tissues").json()
    assert told["checkpoints"] == ["fold_0", "fold_1", "fold_2"]
    assert (told["tta"], told["mc"], told["finetunable"]) == (2, 8, True)
    assert told["outputs"][0]["labels"]["1"] == {"name": "grey", "colour": "#777777"}
    assert kd.apps.Manifest.from_json(told).name == "tissues"
    config = http.get("/repo_apps_config/tissues")
    with zipfile.ZipFile(io.BytesIO(config.content)) as z:
        assert z.namelist() == ["app.json", "config.json"]


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/nothing", 404),
        ("GET", "/repo_apps/tisues", 404),
        ("GET", "/jobs/000000000000", 404),
        ("GET", "/jobs/" + "x" * 5000, 404),
        ("GET", "/jobs/000000000000/logs", 404),
        ("POST", "/jobs/000000000000/kill", 404),
        ("POST", "/health", 405),
        ("OPTIONS", "/health", 405),
        ("GET", "/apps/tissues/infer", 405),
        ("POST", "/apps/tissues/infer", 415),
        ("POST", "/apps/tissues/paint", 422),
        ("POST", "/apps/tisues/infer", 404),
    ],
)
def test_mistakes_are_told_in_short(http, method, path, status):
    answer = http.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message"}
    assert len(answer.text) < 700
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "data, told",
    [
        ({"tta": "3"}, "up to 2 augmented copies"),
        ({"tta": "many"}, "`tta` cannot be 'many'"),
        ({"ensemble_models": "fold_9"}, "Did you mean 'fold_0'"),
        ({"ensmble": "1"}, "Did you mean 'ensemble'"),
        ({"options": "{"}, "is no JSON"),
        ({"options": "[1]"}, "is a JSON object"),
        ({"options": '{"patch_size": 3}'}, "no option 'patch_size'"),
        (
            {"options": '{"overrides": {"seed": 3}}'},
            "does not let a call set `cfg.seed`",
        ),
        ({"options": "[" * 100_000}, "is no JSON"),
        ({"inputs_groups": "1"}, "for 0 files"),
        ({"gpu": "0", "cpu": "1"}, "leave out"),
    ],
)
def test_options_that_an_app_does_not_have_are_refused(ask, data, told):
    answer = ask(data=data)
    assert answer.status_code == 422 and told in answer.json()["error"]["message"]


def test_a_device_that_is_not_there_is_told(ask):
    assert ask(data={"gpu": "0"}).status_code == 503
    assert ask(data={"gpu": "first"}).status_code == 400


def test_files_of_several_inputs_come_by_name_or_by_number():
    manifest = made.manifest()
    files = {
        "inputs": ["inputs/0/a.nii", "inputs/0/b.nii"],
        "inputs.t2": ["inputs.t2/0/c.nii"],
        "gt": ["gt/0/d.nii"],
    }
    form = uploads.Form(files={k: dict.fromkeys(v) for k, v in files.items()})
    form.fields["options"] = ['{"tta": 1}']
    form.fields["mc"] = ["4"]
    with pytest.raises(kd.apps.AppError, match="equally many"):
        _forms.read("evaluate", form, "inputs", manifest)
    form.fields["inputs_groups"] = ["1,1"]
    del form.files["inputs.t2"]
    asked = _forms.read("evaluate", form, "inputs", manifest)
    assert asked.call.inputs == {
        "t1": ("inputs/inputs/0/a.nii",),
        "t2": ("inputs/inputs/0/b.nii",),
    }
    assert asked.call.references == {"tissue": ("inputs/gt/0/d.nii",)}
    assert asked.accepted() == {"tta": 1, "mc": 4, "device": "auto"}


def test_tokens_are_asked_for_on_every_route_but_the_page(tmp_path, app_path):
    with (
        plain_server.in_thread(tmp_path, [app_path], token="secret") as url,
        httpx.Client(base_url=url) as http,
    ):
        paths = [path.replace("{name:path}", "x") for path in _app._ROUTES]
        for path in [*paths, "/nothing"]:
            methods = _app._ROUTES.get(path, {"GET": None})
            for method in methods:
                for headers in (
                    {},
                    {"Authorization": "Bearer wrong"},
                    {"Authorization": "Basic secret"},
                    {"Authorization": "Bearer"},
                ):
                    answer = http.request(method, path, headers=headers)
                    assert answer.status_code == 401, path
                    assert "secret" not in answer.text
                    assert answer.headers["www-authenticate"] == "Bearer"
        right = {"Authorization": "Bearer secret"}
        assert http.get("/health", headers=right).status_code == 200
        assert http.get("/").status_code == 200
        client = kd.apps.Client(url, token="secret")
        assert client.apps() == ["tissues"]
        told = "token is missing or wrong.*`--token=TOKEN`.* KAULDRON_APPS_TOKEN"
        with pytest.raises(kd.apps.AppError, match=told):
            kd.apps.Client(url, token="wrong").apps()


def test_pages_of_other_sites_cannot_use_a_server_without_a_token(http):
    own = str(http.base_url).rstrip("/")
    assert http.get("/health", headers={"Origin": own}).status_code == 200
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "evil.example:8001", "Origin": "http://evil.example:8001"},
        {"Host": "[::bad"},
    ):
        assert http.get("/health", headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_no_server_starts_open_to_other_machines(host, app_path, tmp_path, monkeypatch):
    monkeypatch.delenv("KAULDRON_APPS_TOKEN", raising=False)
    with pytest.raises(kd.apps.AppError, match="without a token anybody could use it"):
        kd.apps.serve([app_path], host=host, port=0, state=tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_full_queue_is_told_before_files_are_read(tmp_path, app_path):
    with (
        plain_server.in_thread(tmp_path, [app_path], max_jobs=1, max_streams=1) as url,
        httpx.Client(base_url=url, timeout=30) as http,
    ):
        ask = conftest.Asking(http)
        job_id = ask(sleep=30).json()["job_id"]

        answer = ask()
        assert answer.status_code == 429 and answer.headers["retry-after"] == "5"
        # Also where the body is never sent.
        kind = "multipart/form-data; boundary=x"
        assert _early(url, {"content-length": "400000", "content-type": kind}) == 429
        with http.stream("GET", f"/jobs/{job_id}/logs") as stream:
            pieces = stream.iter_bytes()
            next(pieces)
            second = http.get(f"/jobs/{job_id}/logs")
            assert second.status_code == 429  # and not 200 with an empty body
        http.post(f"/jobs/{job_id}/kill")
        assert ask().status_code == 202


def _early(url, headers):
    """Sends the head of a request; returns the status of the answer to it."""

    async def send():
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [f"{k}: {v}" for k, v in {"host": "localhost", **headers}.items()]
        head = "\r\n".join(["POST /apps/tissues/infer HTTP/1.1", *lines, "", ""])
        writer.write(head.encode())
        answer = await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        return int(answer.split()[1])

    return asyncio.run(send())
