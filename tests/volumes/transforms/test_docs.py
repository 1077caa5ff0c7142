"""The page on transforms and augmentation says what happens."""

from tests import docs_snippets


def test_the_page_on_transforms_runs(tmp_path):
    assert docs_snippets.run_page("volume_transforms.md", tmp_path) == 6
