"""Every Python block of the page on tuning, and of docstrings; and its command."""

from __future__ import annotations

import pytest

from kauldron.cli import command_table
from tests import docs_snippets


def test_tuning_page(tmp_path):
    assert docs_snippets.run_page("tuning.md", tmp_path) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    docs_snippets.docstrings_with_code("kauldron.tracking.tuning").items(),
)
def test_docstring(name, text, tmp_path):
    assert docs_snippets.run_docstring(name, text, tmp_path)


def test_the_page_shows_the_command_of_the_help():
    page = (docs_snippets.DOCS / "tuning.md").read_text()
    assert f"    {command_table.COMMANDS['tune'].example}\n" in page
