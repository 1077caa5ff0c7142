"""Every Python block of the page on serving."""

from __future__ import annotations

import pytest

from tests import docs_snippets


@pytest.mark.slow
def test_serving_page(tmp_path):
    assert docs_snippets.run_page("serving.md", tmp_path) == 5
