"""Who imports whom in a package, read from its source: nothing is executed.

Imports inside functions and under `TYPE_CHECKING` count as all others do.
"""

from __future__ import annotations

import ast
import functools
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

ROOT = pathlib.Path(__file__).parents[1]

# Module -> the modules of the package that it imports.
Graph = Mapping[str, frozenset[str]]


def files_of(package: str, root: pathlib.Path = ROOT) -> dict[str, pathlib.Path]:
    """Returns the modules of a package and where they are."""
    folder = root / package.replace(".", "/")
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


def read(package: str, root: pathlib.Path = ROOT) -> Graph:
    """Returns the imports of every module of a package."""
    files = files_of(package, root)
    return {
        name: frozenset(_targets(path, files)) - {name} for name, path in files.items()
    }


def imported_names(path: pathlib.Path) -> Sequence[tuple[str, int]]:
    """Returns `package.module.name` of everything that a file imports, and its line."""
    return _names_in(path.read_text())


@functools.cache
def _names_in(source: str) -> Sequence[tuple[str, int]]:
    found = []
    for node in _statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found += [(f"{node.module}.{a.name}", node.lineno) for a in node.names]
    return found


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yields what may be an import; a tree has ten times as many expressions."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for statement in getattr(node, block, ()):
            yield statement
            yield from _statements(statement)


def _targets(path: pathlib.Path, files: Mapping[str, pathlib.Path]) -> Iterator[str]:
    for name, _ in imported_names(path):
        # `from a.b import C` imports the module `a.b.C`, or else `a.b`.
        module = name if name in files else name.rpartition(".")[0]
        if module in files:
            yield module


def rooms(graph: Graph) -> Graph:
    """Returns the graph of the direct children of a package."""
    merged: dict[str, set[str]] = {}
    for module, targets in graph.items():
        room = room_of(module)
        merged.setdefault(room, set()).update(map(room_of, targets))
    return {room: frozenset(to - {room}) for room, to in merged.items()}


def room_of(module: str) -> str:
    """Returns `a.b` for `a.b.c`."""
    return ".".join(module.split(".")[:2])


def cycles(graph: Graph) -> list[list[str]]:
    """Returns the groups of modules that import each other, each sorted.

    Reference: Tarjan 1972, Depth-first search and linear graph algorithms.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found)


def external(path: pathlib.Path, packages: Iterable[str]) -> list[str]:
    """Returns where a file imports one of some packages, as `file:line: package`."""
    wanted = set(packages)
    return [
        f"{path.relative_to(ROOT)}:{line}: {name.partition('.')[0]}"
        for name, line in imported_names(path)
        if name.partition(".")[0] in wanted
    ]
