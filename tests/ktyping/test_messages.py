"""The messages, and the page that shows them."""

import pathlib
import re

import numpy as np
import pytest

from kauldron import ktyping as kt
from tests.ktyping import mistakes

_PAGE = pathlib.Path(__file__).parents[2] / "docs" / "shapes.md"


@pytest.mark.parametrize("mistake", mistakes.MISTAKES, ids=lambda m: m.title)
def test_the_page_shows_our_message(mistake):
    section = _PAGE.read_text("utf-8").partition(f". {mistake.title}\n")[2]
    shown = re.search(r"ktyping:\n\n```text\n(.*?)\n```", section, re.DOTALL)
    assert shown is not None
    assert mistake.ours() == shown[1]


@pytest.mark.parametrize("mistake", mistakes.MISTAKES, ids=lambda m: m.title)
def test_messages_tell_all_there_is(mistake):
    message = mistake.ours()
    assert re.search(r"(`\w+.*`|return value) of `attend` does not fit", message)
    assert re.search(r"\(from `|it has|dtype|is no numpy", message)
    assert re.search(r"^  > ", message, re.MULTILINE)
    assert message.endswith("In attend (model.py:1)")


def test_there_are_ten():
    assert len(mistakes.MISTAKES) == 10


def test_long_values_are_cut():
    @kt.typechecked
    def f(x: kt.Float["n"]) -> None: ...

    with pytest.raises(kt.KTypeCheckError) as info:
        f({str(i): np.ones(3) for i in range(100)})
    assert len(str(info.value)) < 600


def test_the_error_says_what_it_is_about():
    @kt.typechecked
    def f(x: kt.Float["n"], y: kt.Float["n"]) -> None: ...

    with pytest.raises(kt.KTypeCheckError) as info:
        f(np.ones(2), np.ones(3))
    assert info.value.name == "y"
    assert info.value.reason == "axis -1 is 3, but n=2 (from `x`)"


@pytest.mark.parametrize(
    "hint, value, words",
    [
        (kt.Float["a"] | None, 3, "as .*|3 is no numpy or jax array"),
        (kt.Float["a a"], np.ones((2, 3)), "axis -1 is 3, but a=2"),
        (kt.Float["a #a"], np.ones((3, 2)), "axis -1 is 2, neither 1 nor a=3"),
        (
            kt.Float["a 2|a"],
            np.ones((3, 1)),
            "axis -1 is 1, but must be 2 or a with a=3",
        ),
        (kt.Float["a a/2"], np.ones((3, 1)), "a/2 has no such value with a=3"),
        (kt.Float["*a *a"], np.ones(3), "no way to divide its axes"),
        (kt.Float["a? b"], np.ones((2, 2, 2)), "it has 3 axes, not 1 to 2"),
        (kt.Num, np.ones(2, bool), "its dtype is bool, not a number"),
        (kt.Shape["a a"], (2, 3), "axis -1 is 3, but a=2"),
        (tuple[kt.Float["a"], int], (np.ones(2),), "it has 1 items, not 2"),
        (list[kt.Float["a"]], [np.ones(2), 3], r"`x\[1\]`.*3 is no numpy"),
        (kt.PyTree[kt.Float["a"]], {"k": [3]}, r"`x\['k'\]\[0\]`.*3 is no numpy"),
        (int, "a", "'a' is not int"),
        (int, np.ones(2, np.float32), r"f32\[2\] is not int"),
    ],
)
def test_reasons(hint, value, words):
    @kt.typechecked
    def f(x: hint) -> None: ...

    with pytest.raises(kt.KTypeCheckError, match=words):
        f(value)


def test_every_possibility_is_shown():
    @kt.typechecked
    def f(x: kt.Float["*a *b"], y: kt.Float["*b"]) -> None: ...

    with pytest.raises(kt.KTypeCheckError) as info:
        f(np.ones((2, 3)), np.ones(2))
    assert "*a=(), *b=(2, 3) (from `x`)" in str(info.value)
    assert "or *a=(2,), *b=(3,) (from `x`)" in str(info.value)
