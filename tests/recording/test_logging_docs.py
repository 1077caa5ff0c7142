"""Every Python block of the page on writers and progress."""

from __future__ import annotations

from tests import docs_snippets


def test_logging_page(tmp_path):
    assert docs_snippets.run_page("logging.md", tmp_path) >= 4
