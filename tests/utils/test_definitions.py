"""What is known of a class or function follows its definition, also changed in place."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kauldron._base import definitions


def test_an_unchanged_definition_is_looked_at_once():
    seen = []

    @definitions.cached_until_changed
    def look(target):
        seen.append(target)
        return len(seen)

    def one(a, b=1):
        return a + b

    assert [look(one), look(one), look(int), look(int)] == [1, 1, 2, 2]
    one.__defaults__ = (2,)
    assert look(one) == 3
    one.__code__ = (lambda x, y: x).__code__
    assert look(one) == 4
    with pytest.raises(TypeError, match="unhashable"):
        look([])


def test_fields_that_a_reload_adds_in_place_are_known():
    program = [sys.executable, "-m", "tests.utils.reloaded_class"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
