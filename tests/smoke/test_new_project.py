"""A project that `kauldron new` writes: its tests pass, and it learns."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kauldron.cli import new


@pytest.mark.smoke
def test_the_tests_of_a_new_project_pass_and_it_learns(tmp_path):
    folder = tmp_path / "spirals"
    assert new.main(["new", "spirals", f"--out={folder}"]) == 0
    environment = {**os.environ, "PYTHON": sys.executable}
    for target in ("test", "train"):
        result = subprocess.run(
            ["make", target],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
    last = [line for line in result.stderr.splitlines() if "[eval] step 1000" in line]
    assert float(last[0].rpartition("accuracy")[2]) > 0.95
