"""Every Python block of the pages on attention and on language blocks."""

from __future__ import annotations

import pytest

from tests import docs_snippets


@pytest.mark.slow
def test_attention_page(tmp_path):
    assert docs_snippets.run_page("attention.md", tmp_path) == 3


@pytest.mark.slow
def test_language_blocks_page(tmp_path):
    assert docs_snippets.run_page("language_blocks.md", tmp_path) == 4
