"""The plan of the house: who imports whom, what is public, what is promised."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import types

import pytest

from kauldron import kd
from tests import draw_layers, import_graph

_FILES = import_graph.files_of("kauldron")
_WITHOUT_ARRAYS = ("_base", "kontext", "konfig", "workdir")
# Functions that take JAX trees import JAX when they are called; nothing else does.
_IN_FUNCTIONS = ("kauldron/kontext/_flatten.py", "kauldron/kontext/_tree.py")


def _rooms():
    """The packages that offer names: the rooms, and what is reached through `kd`."""
    rooms = {name for name, p in _FILES.items() if p.name == "__init__.py"}
    rooms |= {"kauldron.kd", "kauldron.kxm", "kauldron.errors"}
    found = map(importlib.import_module, sorted(rooms))
    reached = [getattr(kd, name) for name in dir(kd)]
    modules = {m.__name__: m for m in [*found, *reached] if hasattr(m, "__all__")}
    return sorted(modules.values(), key=lambda m: m.__name__)


_ROOMS = _rooms()


def test_no_two_rooms_import_each_other():
    assert import_graph.cycles(import_graph.rooms(import_graph.read("kauldron"))) == []


def test_no_two_files_import_each_other():
    assert import_graph.cycles(import_graph.read("kauldron")) == []


def test_a_planted_cycle_is_found():
    graph = {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset("ad"), "d": {}}
    assert import_graph.cycles(graph) == [["a", "b", "c"]]


def test_no_room_imports_a_private_file_of_another():
    found = [
        f"{module}: {name}"
        for module, path in _FILES.items()
        for name, _ in import_graph.imported_names(path)
        if name.startswith("kauldron.")
        and import_graph.room_of(name) != import_graph.room_of(module)
        and any(part.startswith("_") for part in name.split(".")[2:])
    ]
    assert found == []


@pytest.mark.parametrize("room", _WITHOUT_ARRAYS)
def test_rooms_of_words_and_files_import_no_array_library(room):
    found = [
        line
        for path in import_graph.files_of(f"kauldron.{room}").values()
        for line in import_graph.external(path, ["jax", "jaxlib", "flax", "numpy"])
        if not line.startswith(_IN_FUNCTIONS)
    ]
    assert found == []


@pytest.mark.parametrize("module", _ROOMS, ids=lambda m: m.__name__)
def test_a_room_lists_what_it_offers_and_nothing_else(module):
    assert dir(module) == sorted(module.__all__)


@pytest.mark.parametrize("module", _ROOMS, ids=lambda m: m.__name__)
def test_public_names_say_where_they_live(module):
    for name in module.__all__:
        obj = getattr(module, name)
        if not isinstance(obj, type | types.FunctionType):
            continue
        home = obj.__module__
        # Of another library, or an alias such as `PyTree[ArraySpec]`.
        if not home.startswith("kauldron.") or obj.__qualname__ != name:
            continue
        assert not any(part.startswith("_") for part in home.split(".")), (name, home)
        found = importlib.import_module(home)
        for part in obj.__qualname__.split("."):
            found = getattr(found, part)
        assert found is obj, f"{module.__name__}.{name} says it is {home}.{name}"


def _public_docstrings(module):
    """Yields name and docstring of what a room offers, and of its public methods."""
    for name in module.__all__:
        obj = getattr(module, name)
        if not isinstance(obj, type | types.FunctionType):
            continue
        yield name, inspect.getdoc(obj) or ""
        for method, value in vars(obj).items() if isinstance(obj, type) else ():
            is_public = not method.startswith("_") or method in ("__call__", "__init__")
            if is_public and callable(value):
                yield f"{name}.{method}", inspect.getdoc(value) or ""


def _promised(text):
    """The names in the `Raises:` section of a docstring."""
    section = re.search(r"^Raises:\n((?:[ \t]+.*\n?|\n)+)", text, re.MULTILINE)
    if section is None:
        return []
    indent = len(section[1]) - len(section[1].lstrip())
    return re.findall(rf"^ {{{indent}}}([\w.]+):", section[1], re.MULTILINE)


@pytest.mark.parametrize("module", _ROOMS, ids=lambda m: m.__name__)
def test_every_promised_exception_can_be_caught(module):
    """By a name of its room, of another room, or of Python."""
    unknown = [
        f"{owner}: {name}"
        for owner, text in _public_docstrings(module)
        for name in _promised(text)
        if not _is_reachable(name, module)
    ]
    assert unknown == []


def _is_reachable(name, module):
    *rooms, name = name.split(".")
    if rooms:  # `kontext.KeyPathError`, `jax.errors.X`
        named = [r for r in _ROOMS if r.__name__.endswith(f".{rooms[-1]}")]
        return any(hasattr(r, name) for r in named) or rooms[0] not in dir(kd)
    places = [builtins, module, *_ROOMS]
    errors = (getattr(p, name, None) for p in places)
    return any(isinstance(e, type) and issubclass(e, BaseException) for e in errors)


def test_kinds_are_asked_and_not_recognised_by_their_methods():
    """No `type(x)._method is Base._method`: what matters is a method or a property."""
    found = []
    for module, path in _FILES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute):
                owner = node.left.value
                is_type = isinstance(owner, ast.Call) and (
                    ast.unparse(owner.func) == "type"
                )
                if is_type and re.match(r"_[^_]", node.left.attr):
                    found.append(f"{module}:{node.lineno}")
    assert found == []


def test_files_stay_small():
    long = {m: len(p.read_text().splitlines()) for m, p in _FILES.items()}
    assert {m: n for m, n in long.items() if n > 400} == {}


def test_the_folder_of_the_trainer_is_one_room():
    folder = import_graph.ROOT / "kauldron" / "train"
    assert len(list(folder.glob("*.py"))) <= 25


def test_the_picture_of_the_layers_is_that_of_the_imports():
    drawn = draw_layers.PICTURE.read_text()
    assert drawn == draw_layers.draw(), "Draw it again: make layers"


def test_every_file_that_the_map_names_exists():
    text = (import_graph.ROOT / "docs" / "structure.md").read_text()
    folders = {p.name for p in (import_graph.ROOT / "kauldron").iterdir() if p.is_dir()}
    named = [
        n for n in re.findall(r"`([\w/]+\.py)`", text) if n.split("/")[0] in folders
    ]
    assert len(named) > 15
    missing = [n for n in named if not (import_graph.ROOT / "kauldron" / n).exists()]
    assert missing == []
