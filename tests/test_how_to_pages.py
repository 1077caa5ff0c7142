"""Every Python block of the how-to pages, and of the one on randomness, runs."""

from __future__ import annotations

import sys

import pytest

from tests import docs_snippets

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(autouse=True)
def path_and_modules_as_before(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {*sys.modules}
    yield
    for name in {*sys.modules} - before:
        if name.startswith("my_"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("page", "num_blocks"),
    [
        ("own_dataset.md", 5),
        ("own_model.md", 4),
        ("own_loss.md", 4),
        ("own_metric.md", 2),
        ("own_transform.md", 3),
        ("nan.md", 3),
        ("speed.md", 1),
        ("fine_tuning.md", 1),
        ("resume.md", 1),
        ("devices.md", 1),
        ("randomness.md", 3),
    ],
)
def test_page_runs(page, num_blocks, tmp_path):
    assert docs_snippets.run_page(page, tmp_path) == num_blocks
