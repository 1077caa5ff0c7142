"""The page on scaling: its blocks, and the numbers in its text."""

from __future__ import annotations

from tests import docs_snippets


def test_scaling_page(tmp_path):
    assert docs_snippets.run_page("scaling.md", tmp_path) == 3


def test_numbers_of_the_text_are_those_of_the_formulas():
    text = (docs_snippets.DOCS / "scaling.md").read_text()
    n, kernel = 8, 1024 * 4096 * 4
    for number in (
        f"{2 * kernel / 1e6:.1f} MB, of which each of 8 devices holds",
        f"holds {2 * kernel / n / 1e6:.1f} MB; {4 * kernel / n / 1e6:.1f} MB of moments",
        f"= {2 * 7 / 8 * 2 * kernel / 1e6:.1f} MB".replace("= ", "=\n"),
        f"{2 * 7 / 8 * 2 * kernel / 50e9 * 1e3:.2f} ms at 50 GB/s",
        f"= {7 / 8 * kernel / 1e6:.1f} MB, {7 / 8 * kernel / 50e9 * 1e3:.2f} ms",
        f"{8192 * 8192 * 2 / 1e6:.0f} MB, {80 * 8192 * 8192 * 2 / 1e9:.1f} GB for all",
        f"{8192 * 128256 * 4 / 1e9:.1f} GB, and {8192 * 128256 * 4 / 8e9:.1f} GB",
        f"device and 8.4 M parameters, {6 * 4096 * 8.4e6 / 400e12 * 1e3:.1f} ms",
    ):
        assert number in text, number
