"""The page on patches and prediction is true."""

from __future__ import annotations

import pytest

from tests import docs_snippets


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compile")
def test_python_blocks_of_the_page_run_and_print_what_it_says(tmp_path):
    assert docs_snippets.run_page("volume_patches.md", tmp_path) == 6
