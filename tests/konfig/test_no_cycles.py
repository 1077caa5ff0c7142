"""No two files of konfig need each other, also not by imports inside functions."""

from __future__ import annotations

import ast
import pathlib
import textwrap

import pytest

import kauldron

_PACKAGE = pathlib.Path(kauldron.__file__).parent


def find_cycles(folder: pathlib.Path, package: str) -> list[list[str]]:
    """Returns the sets of files that need each other, by all their import statements.

    Those in functions and under `TYPE_CHECKING` count. An `__init__` that is imported to
    get at a file in its folder does not count as needed by that.

    Args:
      folder: Where the package is.
      package: Its dotted name.
    """
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join((package, *parts)).removesuffix(".__init__")
        modules[name] = ast.parse(path.read_text(encoding="utf-8"))
    needs = {name: _imports(tree, modules) - {name} for name, tree in modules.items()}
    return [sorted(group) for group in _strong_components(needs) if len(group) > 1]


def _imports(tree: ast.Module, modules: dict[str, ast.Module]) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in inner]
        else:
            continue
        found.update(name for name in names if name in modules)
    return found


def _strong_components(needs: dict[str, set[str]]) -> list[set[str]]:
    """Kosaraju's algorithm, without recursion."""
    order: list[str] = []
    seen: set[str] = set()
    for start in needs:
        stack = [(start, False)]
        while stack:
            name, is_done = stack.pop()
            if is_done:
                order.append(name)
            elif name not in seen:
                seen.add(name)
                stack.append((name, True))
                stack.extend((other, False) for other in needs[name])
    needed_by: dict[str, set[str]] = {name: set() for name in needs}
    for name, others in needs.items():
        for other in others:
            needed_by[other].add(name)
    groups: list[set[str]] = []
    grouped: set[str] = set()
    for start in reversed(order):
        group: set[str] = set()
        pending = [start]
        while pending:
            name = pending.pop()
            if name not in grouped:
                grouped.add(name)
                group.add(name)
                pending.extend(needed_by[name])
        groups.append(group)
    return groups


@pytest.mark.parametrize("room", ["konfig", "kontext"])
def test_no_files_of_the_language_need_each_other(room):
    assert find_cycles(_PACKAGE / room, f"kauldron.{room}") == []


def test_imports_in_functions_and_for_type_checkers_close_a_cycle(tmp_path):
    files = {
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
    for name, text in files.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
    assert find_cycles(tmp_path, "pkg") == [["pkg.a", "pkg.c", "pkg.inner.b"]]
