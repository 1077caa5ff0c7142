"""The commands of the page on several processes."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from tests import docs_snippets
from tests.train import processes as processes_lib

_PAGE = docs_snippets.DOCS / "processes.md"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_processes_on_this_machine(tmp_path):
    blocks = re.findall(r"```sh\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    [script] = [block for block in blocks if "localhost" in block]
    script = script.replace("9731", str(processes_lib.free_port()))
    python = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": python, "PYTHONPATH": str(processes_lib.ROOT)}
    (tmp_path / "examples").symlink_to(processes_lib.ROOT / "examples")
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            output, _ = shell.communicate(timeout=600)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, output
    assert output.count("Finished: runs/two is at step 20") == 1
    [launch] = (tmp_path / "runs" / "two" / "launches").iterdir()
    assert json.loads(launch.read_text())["num_processes"] == 2
