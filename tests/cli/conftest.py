"""Commands, called in this process."""

from __future__ import annotations

import pathlib

import pytest
from absl import flags

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def call(monkeypatch, capfd):
    """Calls a command in the project's root; returns exit code, stdout and stderr."""
    monkeypatch.chdir(ROOT)

    def call(command, *args: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = command(["kauldron", *args], flag_values=flags.FlagValues())
        out, err = capfd.readouterr()
        return code, out, err

    return call
