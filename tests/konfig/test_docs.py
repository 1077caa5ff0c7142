"""Every Python block of the pages on configs, and of konfig's docstrings, runs."""

import sys

import pytest

from tests import docs_snippets


@pytest.fixture(autouse=True)
def restore_path():
    before = list(sys.path)
    yield
    sys.path[:] = before


@pytest.mark.parametrize("page", ["konfig.md", "overrides.md", "good_configs.md"])
def test_pages_run(page, tmp_path):
    assert docs_snippets.run_page(page, tmp_path) >= 5


_DOCSTRINGS = docs_snippets.docstrings_with_code("kauldron.konfig")


@pytest.mark.parametrize("name", _DOCSTRINGS)
def test_docstrings_run(name, tmp_path):
    assert docs_snippets.run_docstring(name, _DOCSTRINGS[name], tmp_path) >= 1


def test_public_names_have_docstrings():
    from kauldron import konfig

    assert not [name for name in konfig.__all__ if not getattr(konfig, name).__doc__]


def test_public_names_are_listed_and_live_in_the_room():
    from kauldron import konfig

    assert dir(konfig) == sorted(konfig.__all__)
    homes = {n: getattr(getattr(konfig, n), "__module__", None) for n in dir(konfig)}
    assert set(homes.values()) == {"kauldron.konfig"}, homes
