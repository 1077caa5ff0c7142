"""Every Python block of the pages on evaluation, outputs and predictions."""

from __future__ import annotations

from tests import docs_snippets


def test_predict_page(tmp_path):
    assert docs_snippets.run_page("predict.md", tmp_path) >= 8


def test_evaluation_page(tmp_path):
    assert docs_snippets.run_page("evaluation.md", tmp_path) >= 7
