"""Every Python block of the page on data runs, and prints what the page says."""

from __future__ import annotations

import contextlib
import io
import pathlib
import re

_PAGE = pathlib.Path(__file__).parents[2] / "docs" / "data.md"


def test_python_blocks_run():
    text = _PAGE.read_text("utf-8")
    namespace: dict = {"__name__": "__docs__"}
    pattern = r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?"
    for block in re.finditer(pattern, text, re.DOTALL):
        line = text[: block.start()].count("\n") + 1
        code = compile("\n" * line + block[1], str(_PAGE), "exec", dont_inherit=True)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(code, namespace)
        if block[2] is not None:
            assert output.getvalue() == block[2]
