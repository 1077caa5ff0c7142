"""Every Python block of the page on language models."""

from __future__ import annotations

import pytest

from tests import docs_snippets


@pytest.mark.slow
def test_language_models_page(tmp_path):
    assert docs_snippets.run_page("language_models.md", tmp_path) == 5
