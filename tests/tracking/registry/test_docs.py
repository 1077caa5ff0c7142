"""The page on projects, runs and artifacts."""

from __future__ import annotations

from tests import docs_snippets


def test_tracking_page(tmp_path):
    assert docs_snippets.run_page("tracking.md", tmp_path) == 5
