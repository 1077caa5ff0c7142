"""Every Python block of the page on exporting, and of docstrings."""

from __future__ import annotations

import pytest

from tests import docs_snippets

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_export_page(tmp_path):
    assert docs_snippets.run_page("export.md", tmp_path) >= 5


@pytest.mark.parametrize(
    ("name", "text"), docs_snippets.docstrings_with_code("kauldron.export").items()
)
def test_docstring(name, text, tmp_path):
    assert docs_snippets.run_docstring(name, text, tmp_path)
