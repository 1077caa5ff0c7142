"""Every Python block of the overview of volumes."""

from __future__ import annotations

import pytest

from tests import docs_snippets


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compile")
def test_page_on_volumes(tmp_path):
    assert docs_snippets.run_page("volumes.md", tmp_path) == 2
