"""Every Python block of the page on sweeps, and of docstrings."""

from __future__ import annotations

import pytest

from tests import docs_snippets


def test_sweeps_page(tmp_path):
    assert docs_snippets.run_page("sweeps.md", tmp_path) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    docs_snippets.docstrings_with_code("kauldron.launch").items(),
)
def test_docstring(name, text, tmp_path):
    assert docs_snippets.run_docstring(name, text, tmp_path)
