"""Every Python block of the page on sharding."""

from __future__ import annotations

from tests import docs_snippets


def test_sharding_page(tmp_path):
    assert docs_snippets.run_page("sharding.md", tmp_path) == 6
