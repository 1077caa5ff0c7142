"""Who imports whom is read from every statement of a file, wherever it stands."""

from __future__ import annotations

import re
import textwrap

from tests import import_graph

FILES = {
    "__init__": "from pkg import a, alone",
    "a": "from pkg.inner import b",
    "inner/__init__": "",
    "inner/b": "def f():\n    import pkg.c",
    "c": """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from pkg.a import Something
    """,
    "alone": "from pkg import a",
}


def test_imports_in_functions_and_for_type_checkers_close_a_cycle(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "pkg" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    graph = import_graph.read("pkg", tmp_path)
    assert import_graph.cycles(graph) == [["pkg.a", "pkg.c", "pkg.inner.b"]]


def test_imports_in_all_blocks_of_a_statement_are_read(tmp_path):
    path = tmp_path / "blocks.py"
    path.write_text(
        textwrap.dedent(
            """
            if a: import in_if
            else: import in_else
            try: import in_try
            except OSError: import in_except
            else: import after_try
            finally: import in_finally
            while a: import in_while
            with a: import in_with
            match a:
                case 1: import in_case
            class A:
                async def f(self):
                    async for x in a: import in_for
            """
        )
    )
    lines = path.read_text().splitlines()
    expected = [s for line in lines for s in line.split() if re.match("in_|after_", s)]
    assert sorted(n for n, _ in import_graph.imported_names(path)) == sorted(expected)
