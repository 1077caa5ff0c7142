"""Runs the Python blocks of Markdown pages and of docstrings.

The blocks of a page run one after the other, in one namespace and one empty directory.

- A block whose first line is `# file: name.py` is written to that file instead.
- A `text` block directly behind a Python block is what the block prints.
- A block that contains a line `# raises: SomeError` must raise it; the `text` block
  behind it is then the message.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import pathlib
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from typing import Any

DOCS = pathlib.Path(__file__).parents[1] / "docs"

_BLOCK = re.compile(
    r"^(?P<indent> *)```python\n(?P<code>.*?)^ *```\n(\n? *```text\n(?P<output>.*?)^ *```)?",
    re.DOTALL | re.MULTILINE,
)
_FILE = re.compile(r"# file: (\S+)\n")
_RAISES = re.compile(r"# raises: (\w+)")


def run_page(name: str, directory: pathlib.Path) -> int:
    """Runs all Python blocks of a page in `docs/`; returns how many there are."""
    path = DOCS / name
    return run_text(path.read_text("utf-8"), str(path), directory)


def run_text(text: str, filename: str, directory: pathlib.Path) -> int:
    """Runs all Python blocks of a Markdown text; returns how many there are."""
    namespace: dict[str, Any] = {"__name__": "__docs__"}
    num_blocks = 0
    with contextlib.chdir(directory):
        for block in _BLOCK.finditer(text):
            line = text.count("\n", 0, block.start("code"))
            code = textwrap.dedent(block["code"])
            _run_block(code, block["output"], namespace, filename, line)
            num_blocks += 1
    return num_blocks


def _run_block(
    code: str, output: str | None, namespace: dict[str, Any], filename: str, line: int
) -> None:
    if file := _FILE.match(code):
        path = pathlib.Path(file[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code[file.end() :], "utf-8")
        return
    compiled = compile("\n" * line + code, filename, "exec", dont_inherit=True)
    printed = io.StringIO()
    raises = _RAISES.search(code)
    try:
        with contextlib.redirect_stdout(printed):
            exec(compiled, namespace)
    except Exception as error:
        names = [cls.__name__ for cls in type(error).__mro__]
        if raises is None or raises[1] not in names:
            raise
        printed.write(f"{error}\n")
    else:
        assert raises is None, f"{filename}:{line}: did not raise {raises[1]}"
    if output is not None and printed.getvalue() != textwrap.dedent(output):
        raise AssertionError(
            f"{filename}:{line}: the page says\n{textwrap.dedent(output)}\n"
            f"printed was\n{printed.getvalue()}"
        )


def docstrings(package: str) -> Iterator[tuple[str, str]]:
    """Yields name and docstring of what the modules of a package define."""
    root = importlib.import_module(package)
    names = [m.name for m in pkgutil.iter_modules(root.__path__, f"{package}.")]
    for name in (package, *names):
        module = importlib.import_module(name)
        yield name, inspect.getdoc(module) or ""
        lazy = getattr(module, "__all__", ())  # imported when asked for
        for attribute in dict.fromkeys((*lazy, *vars(module))):
            obj = getattr(module, attribute)
            if getattr(obj, "__module__", None) != name:
                continue
            if inspect.isclass(obj) or inspect.isroutine(obj):
                yield f"{name}.{attribute}", inspect.getdoc(obj) or ""


def docstrings_with_code(package: str) -> dict[str, str]:
    """Returns name -> docstring, for those that hold Python blocks."""
    return {name: text for name, text in docstrings(package) if "```python" in text}


def run_docstring(name: str, text: str, directory: pathlib.Path) -> int:
    """Runs the Python blocks of a docstring."""
    return run_text(text + "\n", f"<{name}{os.sep}docstring>", directory)
