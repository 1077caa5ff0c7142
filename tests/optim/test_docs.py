"""Every Python block of the pages on optimizers and on GANs."""

from __future__ import annotations

import pytest

from tests import docs_snippets

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.mark.parametrize(("page", "num_blocks"), [("optimizers.md", 9), ("gans.md", 3)])
def test_page(page, num_blocks, tmp_path):
    assert docs_snippets.run_page(page, tmp_path) >= num_blocks
