"""The documentation as a site: what its strict build cannot see."""

from __future__ import annotations

import inspect
import pathlib
import types

import pytest
import yaml

from kauldron import kd
from tests import docs_snippets

_ROOT = pathlib.Path(__file__).parents[1]
_HOOKS = (_ROOT / "docs/_site/hooks.py").read_text()
_ROOMS = _HOOKS.partition('"""\nkonfig')[2].partition('"""')[0].split()


def test_reference_has_every_room():
    namespaces = {
        name
        for name in kd.__all__
        if isinstance(getattr(kd, name), types.ModuleType)
        and name not in ("errors", "kdash", "from_xid", "typing", "utils", "xm")
    }
    assert {"konfig", *_ROOMS} == namespaces


@pytest.mark.parametrize("room", ["konfig", *_ROOMS])
def test_everything_public_says_what_it_is(room):
    module = getattr(kd, room)
    assert inspect.getdoc(module)
    named = {name: getattr(module, name) for name in module.__all__}
    silent = [
        name
        for name, value in named.items()
        if (inspect.isclass(value) or inspect.isroutine(value))
        and not inspect.getdoc(value)
    ]
    assert silent == []


def test_first_page_runs(tmp_path):
    assert docs_snippets.run_page("index.md", tmp_path) == 1


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
