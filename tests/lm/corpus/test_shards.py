"""Token shards: prepared in parallel, going on after an interruption, read at random."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from kauldron import kd
from tests.lm.text import tokenizers_made_here as made

_TEXTS = [f"to be {i} or not" * (i % 5 + 1) for i in range(23)]
_TEXTS[7] = ""


def _source(texts=_TEXTS):
    return kd.data.py.DataSource([{"text": text} for text in texts], shuffle=False)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    kd.lm.prepare(
        _source(),
        folder,
        tokenizer=made.byte_level(),
        documents_per_shard=5,
        num_workers=1,
    )
    return folder


def _expected():
    tokenizer = made.byte_level()
    return [tokenizer.encode(text, add_eos=True) for text in _TEXTS if text]


def test_documents_come_back_as_they_were_tokenized(shards):
    ds = kd.lm.TokenShards(shards, shuffle=False)
    found = [ds.data_source[i]["tokens"] for i in range(len(ds.data_source))]
    for tokens, expected in zip(found, _expected(), strict=True):
        np.testing.assert_array_equal(tokens, expected)
        assert tokens.dtype == np.int32


def test_the_manifest_counts_what_is_there(shards):
    manifest = kd.lm.TokenShards(shards, shuffle=False).manifest
    expected = _expected()
    assert manifest.fingerprint == made.byte_level().fingerprint
    assert manifest.total == kd.lm.Counts(
        num_documents=22,
        num_empty=1,
        num_tokens=sum(map(len, expected)),
        num_learnt=sum(map(len, expected)),
        num_bytes=sum(len(text.encode()) for text in _TEXTS),
        max_token=max(int(tokens.max()) for tokens in expected),
    )
    assert len(manifest.shards) == 5
    assert kd.lm.Tokenizer.from_folder(shards / "tokenizer") == made.byte_level()


@pytest.mark.parametrize("length", [7, 16, 100_000])
def test_rows_are_those_of_packing_all_documents_together(shards, length):
    ds = kd.lm.TokenShards(shards, length=length, shuffle=False)
    pack = kd.lm.Pack(length=length, method="concat_split", chunk_size=1000)
    expected = pack.map_chunk([{"tokens": tokens} for tokens in _expected()])
    assert len(ds.data_source) == len(expected)
    for i, row in enumerate(expected):
        for key, values in row.items():
            found = ds.data_source[i][key]
            np.testing.assert_array_equal(found, values, err_msg=f"{key} of row {i}")
            assert found.dtype == values.dtype


def test_shards_keep_the_contracts_of_sources_and_pipelines(shards):
    rows = kd.lm.TokenShards(shards, length=16, shuffle=True, batch_size=3, seed=0)
    kd.testing.check_source(lambda: rows.data_source)
    kd.testing.check_pipeline(lambda: rows)
    documents = kd.lm.TokenShards(
        shards,
        shuffle=True,
        batch_size=3,
        seed=0,
        transforms=[kd.lm.Pack(length=64, chunk_size=8)],
    )
    kd.testing.check_source(lambda: documents.data_source)
    kd.testing.check_pipeline(lambda: documents, num_batches=4)


def test_an_interrupted_preparation_goes_on_and_ends_alike(shards, tmp_path):
    options = {
        "tokenizer": made.byte_level(),
        "documents_per_shard": 5,
        "num_workers": 1,
    }

    class Killed(BaseException):
        pass

    def kill(name, counts):
        if name == "00002":
            raise Killed

    with pytest.raises(Killed):
        kd.lm.prepare(_source(), tmp_path, on_shard=kill, **options)
    with pytest.raises(kd.data.DataError, match=r"was interrupted. Run it again"):
        _read(tmp_path)
    (tmp_path / "00003.tokens.npy").write_bytes(b"half of a file")
    before = (tmp_path / "00001.tokens.npy").stat().st_mtime_ns
    kd.lm.prepare(_source(), tmp_path, **options)
    assert (tmp_path / "00001.tokens.npy").stat().st_mtime_ns == before
    for file in sorted(shards.glob("*")):
        if file.is_file() and file.name != "plan.json":
            assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.slow
def test_workers_make_the_same_shards(tmp_path):
    lines = tmp_path / "a.jsonl"
    lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in _TEXTS))
    folders = [tmp_path / name for name in "ab"]
    for folder, num_workers in zip(folders, (1, 2), strict=True):
        kd.lm.prepare(
            kd.lm.source_of([str(lines)]),
            folder,
            tokenizer=made.byte_level(),
            documents_per_shard=5,
            num_workers=num_workers,
        )
    for file in folders[0].glob("*.*"):
        assert (folders[1] / file.name).read_bytes() == file.read_bytes()


def test_files_are_read_by_their_suffix(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo")
    source = kd.lm.source_of([str(tmp_path)], separator="\n\n")
    assert list(kd.lm.texts_of(source)) == ["one", "two"]
    (tmp_path / "a.jsonl").write_text('{"body": "three"}')
    lines = kd.lm.source_of([str(tmp_path / "*.jsonl")], key="body")
    assert list(kd.lm.texts_of(lines, key="body")) == ["three"]
    with pytest.raises(kd.data.DataError, match=r"of one kind"):
        kd.lm.source_of([str(tmp_path)])


def _damage(shards, folder):
    folder.mkdir()
    for file in shards.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def _read(folder, **options):
    return kd.lm.TokenShards(folder, shuffle=False, **options).data_source[0]


def test_mistakes_are_told(shards, tmp_path):
    tokenizer = made.byte_level()
    other = dataclasses.replace(tokenizer, special=kd.lm.SpecialTokens(eos="<s>"))
    with pytest.raises(
        kd.data.DataError, match=r"made with another tokenizer: they have"
    ):
        _read(shards, tokenizer=other)
    with pytest.raises(kd.data.DataError, match=r"embeddings for the ids 0 to 99"):
        _read(shards, num_tokens=100)
    with pytest.raises(kd.data.DataError, match=r"no folder of token shards"):
        _read(tmp_path)
    with pytest.raises(kd.data.DataError, match=r"`tokenizer` was .*, now it is"):
        kd.lm.prepare(_source(), shards, tokenizer=other, documents_per_shard=5)
    with pytest.raises(kd.data.DataError, match=r"`num_documents` was 23, now it is 1"):
        kd.lm.prepare(
            _source(["a"]), shards, tokenizer=tokenizer, documents_per_shard=5
        )
    with pytest.raises(kd.data.DataError, match=r"All 1 texts of .* are empty"):
        kd.lm.prepare(_source([""]), tmp_path / "empty", tokenizer=tokenizer)
    with pytest.raises(kd.data.DataError, match=r"source is empty"):
        kd.lm.prepare(_source([]), tmp_path / "none", tokenizer=tokenizer)
    with pytest.raises(kd.data.DataKeyError, match=r"no 'body': they have \['text'\]"):
        kd.lm.prepare(_source(), tmp_path / "c", tokenizer=tokenizer, key="body")
    damaged = _damage(shards, tmp_path / "damaged")
    np.save(damaged / "00001.tokens.npy", np.zeros(3, np.uint16))
    with pytest.raises(
        kd.data.DataError, match=r"'00001' .* 3 tokens; its manifest says"
    ):
        _read(damaged, length=4)
    (damaged / "00001.tokens.npy").write_bytes(b"no array")
    with pytest.raises(kd.data.DataError, match=r"'00001' .* cannot be read"):
        _read(damaged, length=4)
    (damaged / "manifest.json").write_text('{"format": "of the future"}')
    with pytest.raises(kd.data.DataError, match=r"format 'of the future'"):
        _read(damaged)
