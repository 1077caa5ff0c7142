"""The page on data and packing with its command, and docstrings of texts and data."""

from __future__ import annotations

import contextlib
import re
import shlex

import pytest
from absl import flags

from kauldron.cli import lm_prepare
from tests import docs_snippets


def test_page_on_data_and_packing(tmp_path):
    page = (docs_snippets.DOCS / "lm_data.md").read_text("utf-8")
    texts, rest = page.split("```sh\n", 1)
    command, rest = rest.split("```\n", 1)
    assert docs_snippets.run_text(texts, "lm_data.md", tmp_path) == 1
    program, room, verb, *options = shlex.split(command)
    assert (program, room, verb) == ("kauldron", "lm", "prepare")
    with contextlib.chdir(tmp_path):
        argv = [program, *options, "--num_workers=1"]
        assert lm_prepare.main(argv, flag_values=flags.FlagValues()) == 0
    # `text` of the part above the command is used again below it.
    text = re.search(r"^text = .*$", texts, re.MULTILINE)
    assert text is not None
    rest = f"```python\n{text[0]}\n```\n{rest}"
    assert docs_snippets.run_text(rest, "lm_data.md", tmp_path) >= 4


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param(name, text, id=name)
        for room in ("text", "corpus")
        for name, text in docs_snippets.docstrings_with_code(
            f"kauldron.lm.{room}"
        ).items()
    ],
)
def test_docstring(name, text, tmp_path):
    assert docs_snippets.run_docstring(name, text, tmp_path)
