"""The documentation as a site: what its strict build cannot see."""

from __future__ import annotations

import dataclasses
import inspect
import operator
import pathlib
import re
import types

import pytest
import yaml

from kauldron import kd
from tests import docs_snippets, public_docstrings

_ROOT = pathlib.Path(__file__).parents[1]
_PAGES = sorted((_ROOT / "docs").glob("*.md"))
_NAME = re.compile(r"\bkd\.((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)")
_HOOKS = (_ROOT / "docs/_site/hooks.py").read_text()
_ROOMS = _HOOKS.partition('"""\nkonfig')[2].partition('"""')[0].split()


# Other ways to names that the reference has elsewhere.
_PUBLISHED_PATHS = {
    "contrib.ckpts",
    "contrib.modules",
    "contrib.nn.knnx",
    "data.tf",
    "train.auxiliaries",
    "train.context",
    "train.metric_writer",
    "train.train_step",
}


def test_reference_has_every_room():
    namespaces = {
        name
        for name in kd.__all__
        if isinstance(getattr(kd, name), types.ModuleType)
        and name not in ("errors", "kdash", "from_xid", "typing", "utils", "xm")
    }
    assert {"konfig", *(room.partition(".")[0] for room in _ROOMS)} == namespaces


def test_reference_has_every_room_within_a_room():
    rooms = {name: operator.attrgetter(name)(kd) for name in ("konfig", *_ROOMS)}
    shown = {id(module) for module in rooms.values()}
    missing = {
        f"{room}.{name}"
        for room, module in rooms.items()
        for name in module.__all__
        if isinstance(inner := getattr(module, name), types.ModuleType)
        and hasattr(inner, "__all__")
        and id(inner) not in shown
    }
    assert missing <= _PUBLISHED_PATHS


@pytest.mark.parametrize("room", ["konfig", *_ROOMS])
def test_everything_public_says_what_it_is(room):
    module = operator.attrgetter(room)(kd)
    assert inspect.getdoc(module)
    assert public_docstrings.undocumented(module) == []


class _Base:
    def heir(self):
        """Is documented."""


@dataclasses.dataclass
class _Half(_Base):
    """Documented by half.

    Attributes:
      told: By the class.
    """

    @property
    def told(self):
        return 1

    @property
    def untold(self):
        return 1

    def heir(self):
        return 1

    def silent(self):
        return 1

    other_name = _Base.heir
    also_silent = silent


@dataclasses.dataclass
class _Silent:
    x: int


def test_names_without_a_docstring_are_found(monkeypatch):
    room = types.ModuleType("room")
    for name, value in {"Half": _Half, "Silent": _Silent}.items():
        monkeypatch.setattr(value, "__module__", "kauldron.room")
        setattr(room, name, value)
    room.__all__ = ["Half", "Silent"]
    assert public_docstrings.undocumented(room) == [
        "Half.untold",
        "Half.silent",
        "Half.also_silent",
        "Silent",
    ]


def test_first_page_runs(tmp_path):
    assert docs_snippets.run_page("index.md", tmp_path) == 1


@pytest.mark.parametrize("path", _PAGES, ids=lambda p: p.stem)
def test_names_on_a_page_exist(path):
    text = path.read_text().replace("`kd.py`", "")
    for name in sorted(set(_NAME.findall(text))):
        operator.attrgetter(name)(kd)


def test_pages_name_each_other_by_links():
    named = [p.name for p in _PAGES if re.search(r"`docs/\w+\.md`", p.read_text())]
    assert named == []


def test_pictures_are_on_a_page_and_follow_the_colours_of_the_reader():
    text = "".join(path.read_text() for path in _PAGES)
    pictures = [p for p in (_ROOT / "docs").iterdir() if p.suffix in (".svg", ".png")]
    assert pictures
    for path in pictures:
        assert f"]({path.name})" in text, path.name
        if path.suffix == ".svg":
            assert "prefers-color-scheme: dark" in path.read_text(), path.name


def test_navigation_has_every_page_once():
    def pages(node):
        if isinstance(node, str):
            yield node
        else:
            for child in node.values() if isinstance(node, dict) else node:
                yield from pages(child)

    config = yaml.safe_load((_ROOT / "mkdocs.yml").read_text())
    listed = [page for page in pages(config["nav"]) if "reference/" not in page]
    assert sorted(listed) == sorted(p.name for p in (_ROOT / "docs").glob("*.md"))
