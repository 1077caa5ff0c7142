"""A real app, here and on a server: the same bytes, the same mistakes; warm, no compiling."""

from __future__ import annotations

import json
import os
import pathlib
import re
import time

import pytest

from kauldron import kd
from kauldron.cli import apps as commands

pytestmark = pytest.mark.slow


def _tree(folder):
    files = pathlib.Path(folder).rglob("*")
    return {
        x.relative_to(folder).as_posix(): x.read_bytes() for x in files if x.is_file()
    }


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("served") / "state"


@pytest.fixture(scope="module")
def url(digits_app, state):
    os.environ["JAX_LOG_COMPILES"] = "1"  # of the worker
    with kd.apps.background_server([digits_app], state=state, warm=["digits"]) as url:
        yield url
    del os.environ["JAX_LOG_COMPILES"]


@pytest.fixture(scope="module")
def here(digits_app):
    with kd.apps.App(digits_app) as app:
        yield app


def _num_compilations(state):
    text = (state / "workers/digits/problems.txt").read_text()
    return len(re.findall("Finished XLA compilation|Compiling ", text))


@pytest.mark.parametrize("device", ["auto", "cpu"])  # the warm worker, or a job
def test_the_verbs_give_the_same_bytes_here_and_there(
    url,
    here,
    digits,
    tmp_path,
    device,
):
    images = [digits / f"d{i}.png" for i in range(3)]
    there = kd.apps.Client(url).app("digits", device=device)
    asked = {
        "infer": {"inputs": images, "mc": 2},
        "evaluate": {
            "inputs": images,
            "references": {"label": digits / "labels.csv"},
        },
        "uncertainty": {"inputs": images[0], "mc": 3},
        "pipeline": {"inputs": images, "ensemble": 1},
    }
    for verb, arguments in asked.items():
        mine, theirs = tmp_path / verb, tmp_path / f"{verb}_there"
        told = getattr(here, verb)(**arguments, out=mine)
        answer = getattr(there, verb)(**arguments, out=theirs)
        assert answer.to_json() == told.to_json()
        assert _tree(theirs) == _tree(mine) and len(_tree(mine)) >= 1


def test_a_warm_app_compiles_nothing_on_the_second_request(
    url, state, digits, tmp_path
):
    app = kd.apps.Client(url).app("digits")
    app.infer(digits / "d0.png", out=tmp_path / "first")
    before = _num_compilations(state)
    assert before > 0
    app.infer(digits / "d1.png", out=tmp_path / "second")
    assert _num_compilations(state) == before
    assert len(kd.apps.Client(url).jobs()) <= 8  # an answer at once is no job


def test_the_command_line_asks_a_server_as_it_asks_an_app_here(
    url,
    digits,
    digits_app,
    tmp_path,
    capsys,
):
    from absl import flags

    def call(verb, *args):
        code = verb(["kauldron", *map(str, args)], flag_values=flags.FlagValues())
        return code, capsys.readouterr()

    image = f"--input={digits / 'd0.png'}"
    mine, theirs = tmp_path / "here", tmp_path / "there"
    code, _ = call(commands.infer, digits_app, image, f"--out={mine}")
    assert code == 0
    (tmp_path / "text.png").write_text("no picture")
    text = (f"--input={tmp_path / 'text.png'}", f"--out={tmp_path / 'y'}")
    _, told_here = call(commands.infer, digits_app, *text)
    _, told = call(commands.infer, "digits", *text, f"--host={url}", "--device=cpu")
    assert "'text.png' is no image that can be read.\n" in told_here.err
    assert "'text.png' is no image that can be read.\n" in told.err
    assert "inputs/" not in told.err and not (tmp_path / "y").exists()
    host = f"--host={url}"
    code, told = call(
        commands.infer, "digits", image, f"--out={theirs}", host, "--json"
    )
    assert code == 0 and _tree(mine) == _tree(theirs)
    assert json.loads(told.out)["cases"] == ["d0"]
    wrong = (image, f"--out={tmp_path / 'x'}", "--mc=99")
    told_here = call(commands.infer, digits_app, *wrong)
    assert told_here[0] == 2
    assert call(commands.infer, "digits", *wrong, host) == told_here
    code, told = call(commands.ls, host)
    assert code == 0 and told.out.startswith("digits: ")
    code, told = call(commands.inspect, "digits", host)
    assert code == 0 and "Reads digits." in told.out
    code, told = call(commands.infer, "digts", *wrong, host)
    assert code == 2 and "Did you mean 'digits'?" in told.err
    code, told = call(commands.infer, "digits", *wrong, "--host=http://127.0.0.1:1")
    assert code == 1 and "Is it running?" in told.err


def test_a_cancelled_call_of_a_client_cancels_its_job(url, digits, tmp_path):
    client = kd.apps.Client(url)

    def stop(share, text):
        raise KeyboardInterrupt

    call = kd.apps.Call(verb="infer", inputs={"": (str(digits / "d0.png"),)})
    with pytest.raises(KeyboardInterrupt):
        client.app("digits", device="cpu").call(call, out=tmp_path / "x", progress=stop)
    deadline = time.monotonic() + 10
    while client.jobs()[0]["status"] == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.jobs()[0]["status"] in ("cancelled", "done")
