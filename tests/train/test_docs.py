"""Every Python block of the pages on training and debugging runs."""

from __future__ import annotations

from tests import docs_snippets


def test_training_page(tmp_path):
    assert docs_snippets.run_page("training.md", tmp_path) >= 6


def test_debugging_page(tmp_path):
    assert docs_snippets.run_page("debugging.md", tmp_path) >= 6
