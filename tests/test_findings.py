"""Each script in `findings/` can be run anywhere, and says what it shows."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess

import pytest

_SCRIPTS = sorted((pathlib.Path(__file__).parents[1] / "findings").glob("*.sh"))


def test_there_are_findings():
    assert _SCRIPTS


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda s: s.stem)
class TestFinding:
    def test_is_a_program_that_bash_understands(self, script):
        assert os.access(script, os.X_OK)
        subprocess.run(["bash", "-n", script], check=True)

    def test_head_says_versions_guess_and_what_was_seen(self, script):
        head = re.match(r"#!.*\n((?:#.*\n)+)", script.read_text(encoding="utf-8"))[1]
        assert re.search(r"\d+\.\d+", head)
        assert "Guess:" in head and "Seen:" in head

    def test_packages_are_pinned_and_ours_is_not_among_them(self, script):
        text = script.read_text(encoding="utf-8")
        line = re.search(r"pip\" install (.*)", text)[1]
        packages = [word for word in line.split() if not word.startswith("-")]
        assert packages and all("==" in package for package in packages)
        assert "kauldron" not in text
