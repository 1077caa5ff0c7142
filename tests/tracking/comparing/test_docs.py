"""Every block of the page on comparing runs."""

from __future__ import annotations

import re
import shlex

from kauldron.cli import main
from tests import docs_snippets


def test_comparing_runs_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main.main(["kauldron", "init"]) == 0
    assert docs_snippets.run_page("comparing_runs.md", tmp_path) == 6


def test_every_command_of_the_page_can_be_parsed(capsys):
    page = (docs_snippets.DOCS / "comparing_runs.md").read_text()
    commands = [
        line
        for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(commands) == 10
    for line in commands:
        assert main.main([*shlex.split(line), "--help"]) == 0
        assert "Usage" in capsys.readouterr().out or "usage" in line
