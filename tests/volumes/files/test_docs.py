"""The page on files of volumes is true."""

from __future__ import annotations

import inspect
import re

import numpy as np

from kauldron import kd
from kauldron.volumes.files import formats
from tests import docs_snippets


def test_python_blocks_of_the_page_run_and_print_what_it_says(tmp_path):
    assert docs_snippets.run_page("volume_files.md", tmp_path) == 3


def test_the_table_lists_all_suffixes():
    page = (docs_snippets.DOCS / "volume_files.md").read_text("utf-8")
    table = page.partition("## Formats")[2].partition("All dtypes")[0]
    listed = set(re.findall(r"`(\.[a-z0-9.]+)`", table))
    assert listed == {s for f in formats.FORMATS for s in f.suffixes}


def test_examples_of_docstrings_run(tmp_path):
    prelude = "```python\nimport numpy as np\nfrom kauldron import kd\n```\n"
    image = kd.volumes.Image(np.zeros((2, 3, 4), np.int16))
    kd.volumes.write(tmp_path / "ct.nii.gz", image)
    for function in (kd.volumes.read, kd.volumes.open_region_writer):
        text = f"{prelude}{inspect.getdoc(function)}\n"
        assert docs_snippets.run_text(text, function.__name__, tmp_path) == 2
    assert kd.volumes.read(tmp_path / "preds.nii").array.sum() == 4 * 8 * 8
