"""Every Python block of the pages on keys and shapes runs, one after the other."""

import contextlib
import io
import pathlib
import re

import pytest

_DOCS = pathlib.Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["keys.md", "shapes.md"])
def test_python_blocks_run(page):
    text = (_DOCS / page).read_text("utf-8")
    namespace: dict = {"__name__": "__docs__"}
    for block in re.finditer(
        r"```python\n(.*?)```\n(\n```text\n(.*?)```)?", text, re.S
    ):
        line = text[: block.start()].count("\n") + 1
        code = compile("\n" * line + block[1], str(_DOCS / page), "exec")
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(code, namespace)
        if block[3] is not None:
            assert output.getvalue() == block[3]
