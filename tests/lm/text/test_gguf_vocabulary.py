"""Vocabularies of GGUF files, written here with the `gguf` package."""

from __future__ import annotations

import json

import gguf
import numpy as np
import pytest

from kauldron import kd
from tests.lm.text import tokenizers_made_here as made


def _write(path, *, model, tokens, types, merges=None, scores=None, pre=None, **ids):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if merges is not None:
        writer.add_token_merges(merges)
    if scores is not None:
        writer.add_token_scores(scores)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    for name, value in ids.items():
        getattr(writer, f"add_{name}")(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary(tokenizer):
    """Returns tokens by id, their GGUF types, and merges."""
    model = json.loads(tokenizer.definition)["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    special = tokenizer.special_ids
    types = [
        gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL
        for token in tokens
    ]
    return tokens, types, [" ".join(pair) for pair in model["merges"]]


def _byte_level_file(path, pre="smollm"):
    tokens, types, merges = _vocabulary(made.byte_level())
    return _write(
        path,
        model="gpt2",
        pre=pre,
        tokens=tokens,
        types=types,
        merges=merges,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        eot_token_id=3,
        add_bos_token=True,
        chat_template="{{ messages }}",
    )


def test_byte_level_vocabulary_encodes_as_the_tokenizer_it_was_written_from(tmp_path):
    tokenizer = kd.lm.Tokenizer.from_gguf(_byte_level_file(tmp_path / "a.gguf"))
    for text in [*made.TEXTS, "1601 <s>", "  a\n\n b"]:
        np.testing.assert_array_equal(
            tokenizer.encode(text), made.byte_level().encode(text)
        )
    assert tokenizer.special.by_role() == {"bos": "<s>", "eos": "</s>", "pad": "<pad>"}
    assert tokenizer.stop_ids == (2, 3)
    assert tokenizer.special.adds_bos
    assert tokenizer.chat_template == "{{ messages }}"


def test_words_of_llama_3_keep_three_digits_together(tmp_path):
    tokens, types, _ = _vocabulary(made.byte_level())
    types[3] = gguf.TokenType.USER_DEFINED
    path = _write(
        tmp_path / "a.gguf",
        model="gpt2",
        pre="llama-bpe",
        tokens=[*tokens, "12", "123", "1234"],
        types=[*types, *[gguf.TokenType.NORMAL] * 3],
        merges=["1 2", "12 3", "123 4"],
        eos_token_id=2,
    )
    tokenizer = kd.lm.Tokenizer.from_gguf(path)
    assert [tokenizer.token_of(i) for i in tokenizer.encode("1234")] == ["123", "4"]


def test_scored_vocabulary_merges_the_best_pair_first(tmp_path):
    letters = ["▁", "a", "b", "c"]
    words = {"▁a": -1.0, "ab": -2.0, "bc": -0.5, "abc": -3.0}
    control = ["<unk>", "<s>", "</s>"]
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    kinds = gguf.TokenType
    path = _write(
        tmp_path / "a.gguf",
        model="llama",
        tokens=[*control, *names, *letters, *words],
        types=[
            kinds.UNKNOWN,
            *[kinds.CONTROL] * 2,
            *[kinds.BYTE] * 256,
            *[kinds.NORMAL] * (len(letters) + len(words)),
        ],
        scores=[0.0] * 259 + [-10.0] * len(letters) + list(words.values()),
        bos_token_id=1,
        eos_token_id=2,
        unk_token_id=0,
    )
    tokenizer = kd.lm.Tokenizer.from_gguf(path)

    def pieces(text):
        return [tokenizer.token_of(token) for token in tokenizer.encode(text)]

    # "bc" scores highest, then nothing is left to join "▁a" with.
    assert pieces("abc") == ["▁a", "bc"]
    assert pieces("b é") == ["▁", "b", "▁", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(tokenizer.encode("abc  é c")) == "abc  é c"
    assert tokenizer.unk_id == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "bert"}, "vocabulary of the kind 'bert'.*'gpt2', 'llama'"),
        ({"model": "gpt2", "pre": "jabberwocky"}, "by the rule 'jabberwocky'.*smollm"),
    ],
)
def test_other_vocabularies_are_refused_by_name(tmp_path, options, words):
    path = _write(tmp_path / "a.gguf", tokens=["a"], types=[1], merges=[], **options)
    with pytest.raises(kd.lm.TokenizerError, match=words):
        kd.lm.Tokenizer.from_gguf(path)


def test_a_file_that_is_cut_is_told(tmp_path):
    whole = _byte_level_file(tmp_path / "a.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        kd.lm.TokenizerError, match=r"cut\.gguf' cannot be read as GGUF"
    ):
        kd.lm.Tokenizer.from_gguf(tmp_path / "cut.gguf")
