"""The page on generative models runs."""

from __future__ import annotations

import pytest

from tests import docs_snippets

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.mark.slow
def test_the_page_runs(tmp_path):
    assert docs_snippets.run_page("generative.md", tmp_path) >= 3
