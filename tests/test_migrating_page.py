"""The page for those who come from elsewhere: its programs run, and learn the same."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap

import pytest

from tests import docs_snippets

_PAGE = docs_snippets.DOCS / "migrating.md"
_OTHER_PYTHON = "KAULDRON_TORCH_PYTHON"


@pytest.mark.smoke
def test_our_programs_run_and_learn(tmp_path):
    # Each is a program of its own; ours and the one by hand assert what they reach.
    assert docs_snippets.run_page("migrating.md", tmp_path) == 2


@pytest.mark.slow
@pytest.mark.skipif(
    _OTHER_PYTHON not in os.environ,
    reason=f"{_OTHER_PYTHON} names no Python with lightning, transformers and accelerate",
)
@pytest.mark.parametrize("tab", ["Lightning", "Hugging Face Trainer"])
def test_programs_on_pytorch_run_and_learn(tab, tmp_path):
    text = _PAGE.read_text().split(f'=== "{tab}"\n')[1]
    code = textwrap.dedent(re.search(r" *```py\n(.*?) *```\n", text, re.DOTALL)[1])
    (tmp_path / "program.py").write_text(code)
    result = subprocess.run(
        [os.environ[_OTHER_PYTHON], "program.py"],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    accuracy = re.search(r"test accuracy (\d\.\d+)", result.stdout)[1]
    stated = re.search(rf"^\| {tab} \| (\d\.\d+) ", _PAGE.read_text(), re.MULTILINE)[1]
    assert float(accuracy) == pytest.approx(float(stated), abs=0.012)  # four digits
