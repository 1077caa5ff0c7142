"""The pages on compatibility and on contrib run."""

from __future__ import annotations

import re

import pytest

from kauldron import kd
from tests import docs_snippets


@pytest.mark.parametrize(
    ("page", "num_blocks"), [("coming_from_kauldron.md", 4), ("contrib.md", 6)]
)
def test_the_page_runs(page, num_blocks, tmp_path):
    assert docs_snippets.run_page(page, tmp_path) >= num_blocks


def test_the_page_names_every_member_of_contrib():
    text = (docs_snippets.DOCS / "contrib.md").read_text()
    named = set(re.findall(r"\w+", text))
    for room in (
        "losses",
        "metrics",
        "summaries",
        "data",
        "nn",
        "knnx",
        "train",
        "evals",
    ):
        module = getattr(kd.contrib, room)
        for name in module.__all__:
            # `Tap3D…`, what the core has, and what is a part of another member.
            core = hasattr(getattr(kd, room, None), name)
            known = name.startswith(("Tap3D", "ElementWise", "Multi")) or core
            known |= name in ("ShowVideosAsGif", "knnx") or not name[0].isupper()
            assert known or name in named, f"{room}.{name}"
