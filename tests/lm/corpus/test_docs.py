"""The page on data and packing with its command, and docstrings of texts and data."""

from __future__ import annotations

import ast
import contextlib
import pathlib
import re
import shlex
import textwrap

import numpy as np
import pytest
from absl import flags

from kauldron import kd, lm
from kauldron.cli import lm_prepare
from tests import docs_snippets
from tests.lm.text import tokenizers_made_here


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


def _examples():
    for room in ("text", "corpus"):
        for path in sorted((pathlib.Path(lm.__file__).parent / room).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    text = textwrap.dedent(ast.get_docstring(node) or "")
                    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
                        yield pytest.param(block, id=node.name)


@pytest.mark.parametrize("example", list(_examples()))
def test_example_of_a_docstring_runs(example):
    tokenizer = tokenizers_made_here.byte_level()
    names = {"kd": kd, "np": np, "tokenizer": tokenizer}
    names["tokens"] = tokenizer.encode("to be")
    exec(compile(example, "docstring", "exec", dont_inherit=True), names)
    if "Pack" in example:
        assert next(iter(names["ds"]))["tokens"].shape == (2, 8)
