"""Every Python block of the page on models of images."""

from __future__ import annotations

import pytest

from tests import docs_snippets


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compile")
def test_page_on_models_of_images(tmp_path):
    assert docs_snippets.run_page("image_models.md", tmp_path) == 4
