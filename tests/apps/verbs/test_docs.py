"""Every Python block of the page on apps."""

from __future__ import annotations

import pytest

from tests import docs_snippets


@pytest.mark.slow
def test_apps_page(tmp_path):
    assert docs_snippets.run_page("apps.md", tmp_path) == 7
