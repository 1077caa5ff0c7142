"""Calls read from text in pieces of any size; JSON schemas; keys of files."""

from __future__ import annotations

import itertools
import json

import hypothesis
import pytest
from hypothesis import strategies as st

from kauldron import kd
from kauldron.serve.http import _json_schema, _tools

TOOL = _tools.Tool("f", "", {"type": "object", "properties": {"a": {"type": "string"}}})
_CALL = json.dumps({"name": "f", "arguments": {"a": "</tool_call> x"}})
_TEXTS = (
    "",
    "Hello",
    " \n",
    "<tool_call>",
    "</tool_call>",
    f"<tool_call>{_CALL}</tool_call>",
    f"[TOOL_CALLS][{_CALL}]",
    f"[{_CALL}]",
    _CALL,
    "{",
    "<tool",
)


def _read(format, pieces):
    reader = _tools.Reader(format, [TOOL])
    found = [item for piece in pieces for item in reader.push(piece)]
    found += reader.finish()
    texts = "".join(item for item in found if isinstance(item, str))
    return texts, [item[1:] for item in found if not isinstance(item, str)]


@hypothesis.example(_tools.format_of("[TOOL_CALLS]"), f" \n[TOOL_CALLS][{_CALL}]!", [3])
@hypothesis.example(_tools.HERMES, " \n<tool_call>{}", [])
@hypothesis.given(
    st.sampled_from(_tools.FORMATS),
    st.lists(st.sampled_from(_TEXTS), max_size=4).map("".join),
    st.lists(st.integers(0, 60), max_size=8),
)
@hypothesis.settings(max_examples=150, deadline=None)
def test_calls_do_not_depend_on_where_the_text_is_cut(format, text, cuts):
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(ends)]
    whole = _read(format, [text])
    assert _read(format, pieces) == whole
    if not whole[1]:
        assert whole[0] == text  # without a call, nothing is lost


@pytest.mark.parametrize(
    ("value", "schema", "problem"),
    [
        ({"a": 1}, {"type": "object", "required": ["a"]}, ""),
        ({}, {"required": ["a"]}, "value.a is missing"),
        ({"a": "x"}, {"properties": {"a": {"type": "integer"}}}, "value.a is not of type integer"),
        (True, {"type": "integer"}, "value is not of type integer"),
        (1.0, {"type": "integer"}, ""),
        (None, {"type": ["string", "null"]}, ""),
        ("b", {"enum": ["a"]}, "value is none of ['a']"),
        (1, {"const": True}, "value is not True"),
        ({"b": 1}, {"additionalProperties": False}, "value.b is not allowed"),
        ([1, "x"], {"items": {"type": "number"}}, "value[1] is not of type number"),
        (["x", 1], {"prefixItems": [{"type": "string"}], "items": False}, "value[1] is not allowed"),
        (5, {"maximum": 4}, "value is more than 4"),
        (5, {"exclusiveMinimum": 5}, "value is not more than 5"),
        ("abc", {"minLength": 4}, "value is shorter than 4"),
        ([], {"minItems": 1}, "value has fewer items than 1"),
        (1, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "value fits none of anyOf"),
        (1, {"oneOf": [{"type": "number"}, {"minimum": 0}]}, "value fits several of oneOf"),
        (1, {"allOf": [{"minimum": 0}, {"minimum": 2}]}, "value is less than 2"),
        ({"x": {"x": 1}}, {"$defs": {"n": {"properties": {"x": {"$ref": "#/$defs/n"}}, "type": "object"}}, "$ref": "#/$defs/n"}, "value.x.x is not of type object"),
        (1, {"$ref": "#/$defs/none"}, "value is not allowed"),
        (1, {"$ref": "#"}, "value is nested too deeply"),
        ("x", {"pattern": "(a+)+$"}, ""),
    ],
)  # fmt: skip
def test_json_schemas(value, schema, problem):
    assert _json_schema.problem(value, schema) == problem


def test_keys_come_from_a_file_and_from_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "keys"
    file.write_text("# of the team\nfirst\n\nsecond \n")
    monkeypatch.setenv("KAULDRON_API_KEYS", "third, first")
    assert kd.serve.read_api_keys(file) == ("third", "first", "second")
    monkeypatch.delenv("KAULDRON_API_KEYS")
    assert kd.serve.read_api_keys(None) == ()
    file.write_text("# none\n")
    with pytest.raises(kd.serve.ApiKeyError, match="has no keys"):
        kd.serve.read_api_keys(file)
    with pytest.raises(kd.serve.ApiKeyError, match="cannot be read"):
        kd.serve.read_api_keys(tmp_path / "nowhere")
