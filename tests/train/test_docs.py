"""Every Python block of the pages on training and debugging runs."""

from __future__ import annotations

import pytest

from tests import docs_snippets

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_training_page(tmp_path):
    assert docs_snippets.run_page("training.md", tmp_path) >= 6


def test_page_on_own_steps(tmp_path):
    assert docs_snippets.run_page("custom_steps.md", tmp_path) >= 5


def test_page_on_precision_and_memory(tmp_path):
    assert docs_snippets.run_page("precision.md", tmp_path) >= 7


def test_debugging_page(tmp_path):
    assert docs_snippets.run_page("debugging.md", tmp_path) >= 6
