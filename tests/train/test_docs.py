"""Every Python block of the page on training runs."""

from __future__ import annotations

from tests import docs_snippets


def test_training_page(tmp_path):
    assert docs_snippets.run_page("training.md", tmp_path) >= 6
