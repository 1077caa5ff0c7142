"""Every Python block of the page on trackers."""

from __future__ import annotations

from tests import docs_snippets


def test_trackers_page(tmp_path):
    assert docs_snippets.run_page("trackers.md", tmp_path) == 5
