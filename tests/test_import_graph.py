"""Who imports whom is read from every statement of a file, wherever it stands."""

from __future__ import annotations

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
