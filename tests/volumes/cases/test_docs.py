"""The page on datasets of volumes is true."""

from __future__ import annotations

from tests import docs_snippets


def test_python_blocks_of_the_page_run_and_print_what_it_says(tmp_path):
    assert docs_snippets.run_page("volume_cases.md", tmp_path) == 8
