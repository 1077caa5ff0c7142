"""The page on files of volumes is true."""

from __future__ import annotations

import re

import pytest

from kauldron import kd
from kauldron.volumes.files import _formats, volume_files
from tests import docs_snippets


def test_python_blocks_of_the_page_run_and_print_what_it_says(tmp_path):
    assert docs_snippets.run_page("volume_files.md", tmp_path) == 3


def test_the_table_lists_all_suffixes():
    page = (docs_snippets.DOCS / "volume_files.md").read_text("utf-8")
    table = page.partition("## Formats")[2].partition("All dtypes")[0]
    listed = set(re.findall(r"`(\.[a-z0-9.]+)`", table))
    assert listed == {s for f in _formats.FORMATS for s in f.suffixes}


@pytest.mark.parametrize("name", ["open_region_writer"])
def test_examples_of_docstrings_run(name, tmp_path):
    text = getattr(volume_files, name).__doc__
    prelude = "```python\nimport numpy as np\nfrom kauldron import kd\n```\n"
    code = re.sub(r"^    ", "", text, flags=re.MULTILINE)
    assert docs_snippets.run_text(prelude + code, name, tmp_path) == 2
    assert kd.volumes.read(tmp_path / "preds.nii").array.sum() == 4 * 8 * 8
