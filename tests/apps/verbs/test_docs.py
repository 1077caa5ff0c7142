"""Every Python block of the page on apps."""

from __future__ import annotations

import pathlib
import re

import pytest
from PIL import Image

from tests import docs_snippets

_PAGE = pathlib.Path(__file__).parents[3] / "docs" / "apps.md"


def test_the_page_writes_the_picture_that_it_begins_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shell, _, _ = _PAGE.read_text("utf-8").partition("kauldron apps infer")
    [program] = re.findall(r'python -c "([^"]*)"', shell)
    exec(program, {})
    with Image.open("digit.png") as picture:
        assert (picture.size, picture.mode) == ((8, 8), "L")


@pytest.mark.slow
def test_apps_page(tmp_path):
    assert docs_snippets.run_page("apps.md", tmp_path) == 7
