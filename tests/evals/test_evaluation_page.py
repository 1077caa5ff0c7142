"""The page on evaluation is true."""

from __future__ import annotations

import pytest

from kauldron import kd
from tests import docs_snippets


@pytest.mark.skipif(
    not hasattr(kd.ckpts, "PartialKauldronLoader"),
    reason="nothing loads other runs yet",
)
def test_code_of_the_evaluation_page_runs(tmp_path):
    assert docs_snippets.run_page("evaluation.md", tmp_path) >= 7
