"""The Python blocks of the page on graphs, and of docstrings, run."""

from __future__ import annotations

import pytest

from tests import docs_snippets

pytestmark = pytest.mark.usefixtures("quick_compile")

DOCSTRINGS = docs_snippets.docstrings_with_code("kauldron.modules.graph")


def test_page_on_graphs(tmp_path):
    assert docs_snippets.run_page("graph.md", tmp_path) >= 6


@pytest.mark.parametrize("name", DOCSTRINGS)
def test_docstring(name, tmp_path):
    assert docs_snippets.run_docstring(name, DOCSTRINGS[name], tmp_path) >= 1
