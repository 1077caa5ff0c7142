"""Every Python block of the page on reinforcement learning."""

from __future__ import annotations

import jax
import pytest

from tests import docs_snippets

pytestmark = pytest.mark.slow


def test_page(tmp_path):
    with jax.numpy_rank_promotion("allow"):  # as users write it
        assert docs_snippets.run_page("rl.md", tmp_path) == 6
