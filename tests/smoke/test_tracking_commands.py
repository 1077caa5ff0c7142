"""The README's block on tracking, and what the pages promise, typed as it is written."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

import pytest

pytestmark = [pytest.mark.smoke, pytest.mark.timeout(1500)]

ROOT = pathlib.Path(__file__).parents[2]


def _environment():
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "KAULDRON_"))
    }
    env["PYTHONPATH"] = str(ROOT)
    env["PATH"] = f"{pathlib.Path(sys.executable).parent}:{env['PATH']}"
    return env


def _type(folder, line):
    """Runs a line as a shell does; returns what it prints."""
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _readme_lines():
    """Returns the commands on tracking, in the order of the README."""
    text = (ROOT / "README.md").read_text()
    block = next(x for x in text.split("```") if "kauldron init" in x)
    lines = [line.partition("   #")[0].strip() for line in block.splitlines()]
    return lines[
        next(i for i, x in enumerate(lines) if x.startswith("kauldron init")) :
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project with two runs of the digits classifier, of which nobody knows yet."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "examples").symlink_to(ROOT / "examples")
    for number, num_features in enumerate((8, 32)):
        _type(
            folder,
            "kauldron train --cfg=examples/digits_classifier.py --cfg.num_train_steps=200 "
            f"--cfg.aux.num_features={num_features} --cfg.workdir=runs/digits_{number}",
        )
    return folder


@pytest.fixture(scope="module")
def lines(folder):
    """The commands of the README, of which the first makes a workspace."""
    init, *others = [line for line in _readme_lines() if line]
    assert "Runs: 2 added." in _type(folder, init)
    return others


def test_the_list_of_the_readme(folder, lines):
    [head, *rows] = _type(folder, lines[0]).splitlines()
    assert "eval.accuracy" in head
    shown = [float(row.split()[head.split().index("eval.accuracy")]) for row in rows]
    assert shown and shown == sorted(shown, reverse=True)


def test_what_is_found_is_compared_drawn_and_reported(folder, lines):
    where = "eval.accuracy > 0.5 and optimizer.learning_rate < 1e-2"
    listed = f"kauldron runs ls --where '{where}' --sort=-eval.accuracy --json"
    runs = json.loads(_type(folder, listed))
    assert {run["name"] for run in runs} >= {"digits_0", "digits_1"}
    two = "run_0001 run_0002"
    compared = _type(folder, f"kauldron runs compare {two}")
    assert re.search(r"aux.num_features +8 +32", compared)
    _type(folder, f"kauldron runs plot {two} --metric=eval.accuracy --out=curves.png")
    assert (folder / "curves.png").read_bytes()[1:4] == b"PNG"
    _type(folder, "kauldron report run_0001 --out=report")
    _type(folder, f"kauldron report {two} --out=both")
    for name in ("report", "both"):
        kinds = {path.suffix for path in (folder / name).iterdir()}
        assert kinds >= {".md", ".html", ".json"}
    told = json.loads((folder / "both" / "report.json").read_text())
    assert list(told["curves"]["eval.accuracy"]) == two.split()


def test_the_terminal_interface_of_the_readme(folder, lines):
    assert "digits_1" in _look_at(folder, lines[2])


def test_the_tuning_of_the_readme(folder, lines):
    _type(folder, lines[1])
    assert (folder / "runs" / "tune" / "best_config.py").exists()


def _look_at(folder, line):
    """Returns what a program shows on a terminal; ends it by `q`."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    process = subprocess.Popen(
        ["bash", "-c", f"exec {line}"],
        cwd=folder,
        env={**_environment(), "TERM": "xterm-256color"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown, deadline, is_ending = b"", time.monotonic() + 120, False
    while time.monotonic() < deadline and process.poll() is None:
        if select.select([controller], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):  # it has ended
                shown += os.read(controller, 65536)
        if b"digits_1" in shown and not is_ending:
            os.write(controller, b"q")
            is_ending = True
    if process.poll() is None:
        process.kill()
    os.close(controller)
    assert process.wait() == 0, shown[-3000:].decode(errors="replace")
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode(errors="replace"))
