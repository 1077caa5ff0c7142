"""Every Python block of the pages on checkpoints and weights."""

from __future__ import annotations

from tests import docs_snippets


def test_checkpoints_page(tmp_path):
    assert docs_snippets.run_page("checkpoints.md", tmp_path) >= 7


def test_weights_page(tmp_path):
    assert docs_snippets.run_page("weights.md", tmp_path) >= 4
