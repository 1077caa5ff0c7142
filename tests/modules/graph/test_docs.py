"""The Python blocks of the page on graphs, and of docstrings, run."""

from __future__ import annotations

import inspect

import pytest

from kauldron import kd
from tests import docs_snippets

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_page_on_graphs(tmp_path):
    assert docs_snippets.run_page("graph.md", tmp_path) >= 6


@pytest.mark.parametrize("name", ["Graph", "downsampling_factor", "output_shapes"])
def test_docstring(name, tmp_path):
    text = inspect.getdoc(getattr(kd.nn, name))
    assert docs_snippets.run_docstring(name, text, tmp_path) == 1
