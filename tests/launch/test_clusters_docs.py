"""The page on jobs and clusters: its Python blocks run."""

from __future__ import annotations

from tests import docs_snippets


def test_docs_examples_run(tmp_path):
    assert docs_snippets.run_page("clusters.md", tmp_path) == 4
