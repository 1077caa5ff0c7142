"""What a tokenizer promises: text and tokens, roles, files, and streams."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kauldron import kd
from tests.lm.text import tokenizers_made_here as made

FAMILIES = pytest.mark.parametrize("make", made.ALL.values(), ids=made.ALL)


@given(text=st.text(max_size=40))
@settings(deadline=None, max_examples=60)
def test_every_text_comes_back_from_byte_level_tokens(text):
    tokenizer = made.byte_level()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=st.text(max_size=40).filter(lambda text: "▁" not in text))
@settings(deadline=None, max_examples=60)
def test_every_text_comes_back_from_byte_fallback_tokens(text):
    tokenizer = made.byte_fallback()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@FAMILIES
@given(data=st.data())
@settings(deadline=None, max_examples=120)
def test_pieces_of_a_stream_joined_are_the_whole_decoded(make, data):
    tokenizer = make()
    ids = st.lists(st.integers(0, tokenizer.num_tokens - 1), max_size=24)
    tokens = data.draw(ids)
    skip = data.draw(st.booleans())
    stream = tokenizer.stream_decoder(skip_special=skip)
    pieces = [stream.push(token) for token in tokens] + [stream.finish()]
    assert "".join(pieces) == tokenizer.decode(tokens, skip_special=skip)


@FAMILIES
def test_a_stream_shows_words_as_they_come_with_their_spaces(make):
    tokenizer = make()
    tokens = tokenizer.encode("to be or not to be")
    stream = tokenizer.stream_decoder()
    pieces = [stream.push(token) for token in tokens]
    assert "".join(pieces) == "to be or not to be"
    assert sum(map(bool, pieces)) >= 5


def test_a_stream_holds_back_a_character_that_is_not_complete():
    tokenizer = made.byte_fallback()
    tokens = tokenizer.encode("€s")  # three bytes, then a letter
    stream = tokenizer.stream_decoder()
    pieces = [stream.push(token) for token in tokens]
    assert pieces[-4:] == ["", "", "", "€s"]


@FAMILIES
@pytest.mark.parametrize("text", ["</s>", "to <s> be</s>", "<pad><pad>"])
def test_text_of_a_person_becomes_no_special_token(make, text):
    tokenizer = make()
    special = set(tokenizer.special_ids.values()) - {tokenizer.unk_id}
    assert not special & set(tokenizer.encode(text).tolist())
    marked = tokenizer.encode(text, allow_special=True)
    assert special & set(marked.tolist())


def test_control_tokens_that_a_file_calls_ordinary_are_kept_from_people():
    definition = json.loads(made.byte_level().definition)
    size = made.byte_level().num_tokens
    for i, content in enumerate(["<|tool|>", "<tool_call>", "<table>"]):
        options = {"single_word": False, "lstrip": False, "rstrip": False}
        token = {"id": size + i, "content": content, "normalized": False}
        definition["added_tokens"].append(token | options | {"special": False})
    tokenizer = kd.lm.Tokenizer(
        definition=json.dumps(definition), chat_template="{{ '<tool_call>' }}"
    )
    tokens = tokenizer.encode("<|tool|><tool_call><table>").tolist()
    assert size not in tokens and size + 1 not in tokens
    assert tokens[-1] == size + 2  # no template writes it: a word like others
    assert tokenizer.decode([size + 1]) == "<tool_call>"  # text of a model, not skipped


def test_bos_and_eos_are_added_only_when_asked():
    tokenizer = made.byte_level()
    plain = tokenizer.encode("to be").tolist()
    both = tokenizer.encode("to be", add_bos=True, add_eos=True).tolist()
    assert both == [tokenizer.bos_id, *plain, tokenizer.eos_id]
    assert tokenizer.decode(both) == "to be"
    assert tokenizer.decode(both, skip_special=False) == "<s>to be</s>"


def test_a_file_that_cuts_and_pads_texts_is_read_without_that():
    definition = json.loads(made.byte_level().definition)
    definition["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    tokenizer = kd.lm.Tokenizer(definition=json.dumps(definition))
    np.testing.assert_array_equal(
        tokenizer.encode("to be or not"), made.byte_level().encode("to be or not")
    )


def test_offsets_say_which_characters_a_token_stands_for():
    tokenizer = made.byte_level()
    text = "to be€"
    (found,) = tokenizer.encode_batch_with_offsets([text])
    np.testing.assert_array_equal(found.tokens, tokenizer.encode(text))
    parts = [text[a:b] for a, b in found.offsets]
    assert "".join(part for part in parts if part != "€") == "to be"
    assert parts[-1] == parts[-2] == "€"  # several tokens, one character
    assert found.offsets.dtype == np.int32


def test_batch_gives_the_tokens_of_each_text():
    tokenizer = made.byte_level()
    texts = ["to be", "", "question"]
    for text, tokens in zip(texts, tokenizer.encode_batch(texts), strict=True):
        np.testing.assert_array_equal(tokens, tokenizer.encode(text))
        assert tokens.dtype == np.int32


@FAMILIES
def test_a_folder_keeps_everything(make, tmp_path):
    tokenizer = make()
    tokenizer.save(tmp_path)
    read = kd.lm.Tokenizer.from_folder(tmp_path)
    assert read == tokenizer and read.special == tokenizer.special
    assert read.fingerprint == pickle.loads(pickle.dumps(tokenizer)).fingerprint
    text = "to be </s>"
    np.testing.assert_array_equal(read.encode(text), tokenizer.encode(text))
    # A journey to a worker must not lose that people cannot write special tokens.
    travelled = pickle.loads(pickle.dumps(tokenizer))
    np.testing.assert_array_equal(travelled.encode(text), tokenizer.encode(text))


def test_a_folder_of_other_programs_is_read(tmp_path):
    (tmp_path / "tokenizer.json").write_text(made.byte_level().definition)
    config = {
        "bos_token": {"content": "<s>", "lstrip": False, "__type": "AddedToken"},
        "eos_token": "</s>",
        "unk_token": None,
        "add_bos_token": True,
        "additional_special_tokens": ["<|im_start|>"],
        "chat_template": [
            {"name": "tool_use", "template": "tools"},
            {"name": "default", "template": "plain"},
        ],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "special_tokens_map.json").write_text('{"pad_token": "<pad>"}')
    tokenizer = kd.lm.Tokenizer.from_folder(tmp_path)
    assert tokenizer.special.by_role() == {"bos": "<s>", "eos": "</s>", "pad": "<pad>"}
    assert tokenizer.special.adds_bos and not tokenizer.special.adds_eos
    assert tokenizer.chat_template == "plain"
    (tmp_path / "chat_template.jinja").write_text("of the file")
    assert kd.lm.Tokenizer.from_folder(tmp_path).chat_template == "of the file"


def test_the_fingerprint_tells_vocabularies_and_roles_apart():
    tokenizer = made.byte_level()
    other = kd.lm.Tokenizer.train(
        made.TEXTS, 380, special=kd.lm.SpecialTokens(**made.SPECIAL)
    )
    without_eos = kd.lm.Tokenizer(definition=tokenizer.definition)
    prints = {t.fingerprint for t in (tokenizer, other, without_eos)}
    assert len(prints) == 3


def test_training_twice_gives_the_same_tokenizer():
    again = made.byte_level.__wrapped__()
    assert again == made.byte_level()
    assert again.special_ids == {"<pad>": 0, "<s>": 1, "</s>": 2, "<|im_start|>": 3}


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda t: t.train([], 300), "corpus is empty"),
        (lambda t: t.train("to be", 300), "iterable of texts: got one text"),
        (lambda t: t.train(["a"], 100), "at least 259"),
        (lambda t: t.train(["a", 1], 300), "Text 1 of the corpus is a `int`"),
        (lambda t: t.encode_batch("to be"), "got one text. Use `encode`"),
        (lambda t: t.encode_batch(["a", None]), "Text 1 is a `NoneType`"),
        (lambda t: t.decode([1, 100_000]), "ids 0 to 3.*got 100000"),
        (lambda t: t.decode([-1]), "got -1"),
        (lambda t: t.decode([[1]]), r"whole numbers in one row: got int64\[1, 1\]"),
        (lambda t: t.decode([0.5]), "whole numbers"),
        (lambda t: t.id_of("<nope>"), "has no '<nope>'"),
        (lambda t: t.required_id("unk"), "no unk token"),
        (lambda t: t.check_vocabulary(7, "`model`"), "`model` has embeddings for 7"),
        (lambda t: type(t)(definition="{}"), "no definition of a tokenizer"),
        (lambda t: t.from_file("nowhere.json"), "'nowhere.json' cannot be read"),
        (lambda t: t.from_file("."), "is a folder: use"),
        (lambda t: t.from_folder("."), "There is no tokenizer.json in"),
        (lambda t: t.from_gguf("nowhere.gguf"), "cannot be read as GGUF"),
        (
            lambda t: type(t)(
                definition=t.definition, special=kd.lm.SpecialTokens(eos="<end>")
            ),
            "eos token '<end>' is not in the vocabulary",
        ),
    ],
)
def test_mistakes_are_told(act, words):
    with pytest.raises(kd.lm.TokenizerError, match=words):
        act(made.byte_level())
