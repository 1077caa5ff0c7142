"""Every Python block of the page on checkpoints."""

from __future__ import annotations

from tests import docs_snippets


def test_checkpoints_page(tmp_path):
    assert docs_snippets.run_page("checkpoints.md", tmp_path) >= 7
