"""Texts encoded by words: the tokens are those that `tokenizers` makes of whole texts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from kauldron import kd
from kauldron.lm.text import _words

_CORPUS = ["It's 12 o'clock, don't  wait: I'LL go.\n\n\tThe été, Ωμέγα и слово 34!"] * 3


def _byte_level(use_regex=True, **changes):
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    } | changes


def _after(first, use_regex):
    return {"type": "Sequence", "pretokenizers": [first, _byte_level(use_regex)]}


def _split(pattern):
    rule = {"pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return _after({"type": "Split", **rule}, use_regex=False)


_DIVISIONS = {
    "gpt2": _byte_level(),
    "digits": _after({"type": "Digits", "individual_digits": True}, use_regex=True),
    "llama3": _split(_words.LLAMA3),
    "qwen2": _split(_words.QWEN2),
}


def _rust(division, **changes):
    """A trained tokenizer that divides texts in some way."""
    trained = kd.lm.Tokenizer.train(_CORPUS, vocab_size=320, min_frequency=1)
    definition = json.loads(trained.definition) | changes
    definition["pre_tokenizer"] = division
    rust = tokenizers.Tokenizer.from_str(json.dumps(definition))
    rust.encode_special_tokens = True
    return rust


@pytest.fixture(scope="module", params=_DIVISIONS)
def encoder(request):
    found = _words.word_encoder(_rust(_DIVISIONS[request.param]))
    assert found is not None
    return found


def _expected(encoder, texts):
    rust = encoder._rust
    return [rust.encode(text, add_special_tokens=False).ids for text in texts]


_PIECES = st.sampled_from(
    [
        *"aS\u017f'é  \t\n\r\x1c\u00a0\u200b²5½Ⅷ9_-.!Ωж漢\u0301€",
        "'ll",
        "'RE",
        "</s>",
        "don't",
    ]
)


@given(texts=st.lists(st.lists(_PIECES, max_size=12).map("".join), max_size=3))
@settings(max_examples=100, deadline=None)
def test_tokens_are_those_of_whole_texts(encoder, texts):
    found = encoder.encode(texts)
    assert [x.tolist() for x in found] == _expected(encoder, texts)
    assert all(x.dtype == np.int32 for x in found)


def test_every_character_of_the_alphabet_is_of_the_kind_that_tokenizers_says(encoder):
    texts = [f"a{x}b {x} {x}{x}1\n{x}" for x in _words._alphabet()]
    assert [x.tolist() for x in encoder.encode(texts)] == _expected(encoder, texts)


def test_a_table_that_is_full_begins_anew(encoder, monkeypatch):
    monkeypatch.setattr(_words, "_MAX_CHARACTERS", 8)
    texts = ["one two three", "four five six"]
    for text in texts:
        assert encoder.encode([text])[0].tolist() == _expected(encoder, [text])[0]
    assert " six" in encoder._tokens
    assert " two" not in encoder._tokens


@pytest.mark.parametrize(
    ("division", "changes"),
    [
        (_byte_level(add_prefix_space=True), {}),
        (_byte_level(use_regex=False), {}),
        (_split(r"\w+"), {}),
        ({"type": "Whitespace"}, {}),
        (_byte_level(), {"normalizer": {"type": "Lowercase"}}),
        (
            _byte_level(),
            {
                "added_tokens": [
                    {
                        "id": 0,
                        "content": "<pad>",
                        "special": False,
                        "single_word": False,
                        "lstrip": False,
                        "rstrip": False,
                        "normalized": False,
                    }
                ]
            },
        ),
    ],
)
def test_what_divides_texts_otherwise_is_left_to_tokenizers(division, changes):
    assert _words.word_encoder(_rust(division, **changes)) is None
