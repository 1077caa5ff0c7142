"""Which lines of a traceback are the user's, and tracebacks that begin there."""

from __future__ import annotations

import sys

import pytest

from kauldron import konfig
from kauldron._base import tracebacks

MODULE = """
def divide(x):
    return 1 / x


def make(x):
    return divide(x)


def call(function):
    return function()
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """Name of a module of the user, beside no package of ours."""
    (tmp_path / "my_models.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_models"
    sys.modules.pop("my_models", None)


@pytest.fixture
def error(user_module):
    """What resolving a config raises whose constructor divides by zero."""
    cfg = konfig.ConfigDict({"__qualname__": f"{user_module}:make", "x": 0})
    with pytest.raises(ZeroDivisionError) as caught:
        konfig.resolve(cfg)
    return caught.value


def test_places_are_the_users_lines_below_ours(error):
    places = tracebacks.user_places(error)
    assert [(p.function, p.line, p.text) for p in places] == [
        ("make", 7, "return divide(x)"),
        ("divide", 3, "return 1 / x"),
    ]
    assert str(tracebacks.user_place(error)).endswith("my_models.py:3")


def test_description_names_the_innermost_lines(error):
    text = tracebacks.describe(error, limit=1)
    where, line = text.splitlines()
    assert where.endswith("my_models.py:3, in divide")
    assert line == "    return 1 / x"


def test_traceback_begins_at_the_users_code(error):
    text = tracebacks.format_error(error)
    assert "_resolve.py" not in text and 'test_tracebacks.py", line' not in text
    assert text.index("in make") < text.index("in divide")
    assert "Error resolving the config" in text  # the message that we added
    assert text.count("Traceback (most recent call last)") == 1


def test_traceback_without_code_of_the_user_is_shown_in_full():
    cfg = konfig.ConfigDict({"__qualname__": "fractions:Fraction", "numerator": "x"})
    with pytest.raises(ValueError) as caught:
        konfig.resolve(cfg)
    assert tracebacks.user_place(caught.value) is None
    assert "_resolve.py" in tracebacks.format_error(caught.value)


def test_frames_of_libraries_below_the_users_code_are_kept(user_module):
    with konfig.imports():
        import fractions
    cfg = konfig.ConfigDict({"__qualname__": f"{user_module}:call"})
    cfg.function = {
        "__qualname__": "functools:partial",
        "0": fractions.Fraction,
        "1": "x",
    }
    with pytest.raises(ValueError) as caught:
        konfig.resolve(cfg)
    assert tracebacks.user_places(caught.value)[-1].function == "call"
    text = tracebacks.format_error(caught.value)
    assert "fractions.py" in text and "_resolve.py" not in text


def test_line_that_cannot_be_parsed_is_a_place(tmp_path):
    path = tmp_path / "config.py"
    path.write_text("x = 1\n1 = 2\n")
    with pytest.raises(konfig.ConfigError) as caught:
        konfig.load_config_file(str(path))
    place = tracebacks.user_places(caught.value)[-1]
    assert (place.filename, place.line) == (str(path), 2)


def test_what_jax_says_about_its_own_frames_is_left_out(error):
    class UnfilteredStackTrace(Exception):
        pass

    cause = error.__cause__
    cause.__cause__ = UnfilteredStackTrace("100 lines")
    cause.add_note("JAX has removed its internal frames.")
    cause.add_note("Module: encoder")
    text = tracebacks.format_error(error)
    assert "100 lines" not in text and "JAX has removed" not in text
    assert "Module: encoder" in text
    assert tracebacks.user_places(error)[-1].function == "divide"


@pytest.mark.parametrize(
    ("filename", "whose"),
    [
        ("/home/me/proj/.venv/lib/python3.11/site-packages/jax/_src/api.py", "other"),
        (
            "/home/me/proj/.venv/lib/python3.11/site-packages/jax_models/a.py",
            "installed",
        ),
        ("/usr/lib/python3/dist-packages/numpy/core.py", "other"),
        ("/home/me/proj/kauldron_models/model.py", "own"),
        ("/home/me/jax/model.py", "own"),
        ("<frozen importlib._bootstrap>", "other"),
        ("<string>", "other"),
        ("<stdin>", "own"),
        (tracebacks.__file__, "other"),
        (sys.modules["threading"].__file__, "other"),
    ],
)
def test_whose_a_file_is(filename, whose):
    assert tracebacks._kind(filename) == whose
