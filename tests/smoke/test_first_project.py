"""The page that goes from an empty folder to a served model, command by command."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
import urllib.request

import numpy as np
import pytest

from tests import docs_snippets
from tests.smoke import shell

pytestmark = [pytest.mark.smoke, pytest.mark.timeout(900)]

_PAGE = docs_snippets.DOCS / "first_project.md"
_PORT = "8001"


def _commands():
    blocks = re.findall(r"```sh\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith("pip ")]


def _wait_for(url, secs=120):
    for _ in range(secs * 2):
        try:
            return urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(url)


@pytest.fixture
def run(tmp_path):
    """Runs commands of the page, in an empty folder; ends those in the background."""
    in_background = []

    def run(command):
        process = shell.start(
            f"exec {command.removesuffix(' &')}", tmp_path, stderr=subprocess.STDOUT
        )
        if command.endswith(" &"):
            in_background.append(process)
            return ""
        output, _ = process.communicate()
        assert process.returncode == 0, f"{command}\n{output}"
        return output

    yield run
    for process in in_background:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_from_an_empty_folder_to_a_served_model(run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    num_files = docs_snippets.run_page(_PAGE.name, tmp_path)
    assert num_files == 6
    printed = {}
    for command in _commands():
        printed[command] = run(command.replace(_PORT, port))
        if command.endswith(" &"):
            _wait_for(f"http://127.0.0.1:{port}/")
    said = {command.split(" --")[0]: text for command, text in printed.items()}
    accuracy = re.search(r"metrics/accuracy +([\d.]+)", said["kauldron eval"])[1]
    assert float(accuracy) > 0.93
    assert "metrics/doubtful" in said["kauldron eval"]
    assert "2 trials: 2 done" in said["kauldron sweep ls"]
    with np.load(tmp_path / "preds.npz", allow_pickle=True) as preds:
        found = preds["preds.logits"].argmax(-1)
    assert np.mean(found == 3) > 0.8
    answers = [tmp_path / name / "logits.csv" for name in ("answer", "answer_2")]
    here, there = (path.read_bytes() for path in answers)
    assert here == there
    assert here.decode().splitlines()[1].startswith("1090,3,")
