"""Stop texts: found wherever pieces are cut, and no letter of them is passed on."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from kauldron.serve.engine import _stop_texts


def _read(pieces, stops):
    found = _stop_texts.StopTexts(stops)
    text = ""
    for piece in pieces:
        part, stop = found.push(piece)
        text += part
        if stop is not None:
            return text, stop
    return text + found.finish(), None


@hypothesis.given(
    pieces=st.lists(st.text("ab", max_size=3), max_size=12),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
@hypothesis.settings(max_examples=100, deadline=None, derandomize=True)
def test_a_text_ends_where_the_first_stop_text_is_complete(pieces, stops):
    text, expected, stop = "", None, None
    for piece in pieces:
        text += piece
        ends = [(text.find(s), s) for s in stops if s in text]
        if ends:
            start, stop = min(ends, key=lambda x: x[0])
            expected = text[:start]
            break
    assert _read(pieces, stops) == (text if expected is None else expected, stop)


@pytest.mark.parametrize(
    ("text", "passed_on"),
    [("a", "a"), ("a###", "a"), ("a#", "a"), ("a# b", "a# b"), ("aSTO", "a")],
)
def test_only_what_may_become_a_stop_text_is_held_back(text, passed_on):
    found = _stop_texts.StopTexts(("####", "STOP"))
    assert found.push(text) == (passed_on, None)
    assert passed_on + found.finish() == text


def test_without_stop_texts_everything_is_passed_on():
    found = _stop_texts.StopTexts(())
    assert found.push("abc") == ("abc", None)
