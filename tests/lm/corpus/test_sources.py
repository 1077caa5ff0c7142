"""Sources of texts: what they read, the contract, and what is wrong, by file and line."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from kauldron import kd

_RECORDS = [{"text": f"text {i} é", "n": i} for i in range(7)]


@pytest.fixture
def lines(tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    texts = [json.dumps(record, ensure_ascii=False) for record in _RECORDS]
    first.write_text("\n".join(texts[:3]) + "\n\n  \r\n")
    second.write_text("\r\n".join(texts[3:]))
    return tmp_path


@pytest.fixture
def hdf5(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        rows = [np.arange(n, dtype=np.int32) for n in range(1, 6)]
        ragged = file.create_dataset("tokens", 5, dtype=h5py.vlen_dtype(np.int32))
        for i, row in enumerate(rows):
            ragged[i] = row
        file["group/text"] = [f"text {i}" for i in range(5)]
        file["score"] = np.arange(5.0)
        file["short"] = np.arange(3)
    return tmp_path / "a.h5"


def _all(ds):
    return [ds.data_source[i] for i in range(len(ds.data_source))]


def test_lines_of_json_are_elements_over_all_files(lines):
    ds = kd.lm.JsonLines(lines / "*.jsonl", shuffle=False)
    assert _all(ds) == _RECORDS
    only = kd.lm.JsonLines(lines / "b.jsonl", keys=["text"], shuffle=False)
    assert _all(only) == [{"text": record["text"]} for record in _RECORDS[3:]]


def test_texts_of_a_folder_are_documents_whole_or_split(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("one\n\ntwo é\n\n \n\nthree", "utf-8")
    (tmp_path / "sub" / "a.txt").write_text("\ufefffour")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "c.md").write_text("other")
    whole = kd.lm.TextFolder(tmp_path, shuffle=False)
    assert [x["text"] for x in _all(whole)] == ["one\n\ntwo é\n\n \n\nthree", "four"]
    split = kd.lm.TextFolder(tmp_path, separator="\n\n", shuffle=False)
    assert [x["text"] for x in _all(split)] == ["one", "two é", "three", "four"]


def test_datasets_of_hdf5_are_columns(hdf5):
    ds = kd.lm.Hdf5(
        hdf5, keys={"tokens": "tokens", "text": "group/text"}, shuffle=False
    )
    third = ds.data_source[2]
    assert third["tokens"].tolist() == [0, 1, 2] and third["text"] == "text 2"


def test_conversations_of_parquet_are_messages(tmp_path):
    chats = [[{"role": "user", "content": f"q{i}"}] * (i + 1) for i in range(3)]
    table = pa.table({"messages": chats})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    template = kd.lm.ChatTemplate(
        text="{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
    )
    ds = kd.data.py.Parquet(
        tmp_path / "a.parquet",
        shuffle=False,
        batch_size=1,
        num_epochs=1,
        seed=0,
        transforms=[lambda e: {"text": template.render(e["messages"])}],
    )
    assert [b["text"][0] for b in ds][1] == "user:q1;user:q1;"


def test_sources_keep_their_contract(lines, hdf5):
    texts = lines / "a.txt"
    texts.write_text("a\nb\nc")
    kd.testing.check_source(
        lambda: kd.lm.JsonLines(lines / "*.jsonl", shuffle=False).data_source
    )
    kd.testing.check_source(
        lambda: kd.lm.TextFolder(texts, separator="\n", shuffle=False).data_source
    )
    kd.testing.check_source(
        lambda: kd.lm.Hdf5(hdf5, keys=["tokens", "score"], shuffle=False).data_source
    )
    ds = kd.lm.JsonLines(lines / "*.jsonl", shuffle=True, batch_size=2, seed=0)
    kd.testing.check_pipeline(lambda: ds)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda path: kd.lm.JsonLines(path / "bad.jsonl", shuffle=False),
            r"bad\.jsonl, line 3 is no JSON: Expecting",
        ),
        (
            lambda path: kd.lm.JsonLines(path / "list.jsonl", shuffle=False),
            r"list\.jsonl, line 1 must hold a JSON object: got a list",
        ),
        (
            lambda path: kd.lm.JsonLines(path / "a.jsonl", keys=["txt"], shuffle=False),
            r"a\.jsonl, line 1 has no 'txt'. Did you mean 'text'",
        ),
        (
            lambda path: kd.lm.JsonLines(path / "a.json", shuffle=False),
            r"no file .*a\.json. Did you mean 'a\.jsonl'",
        ),
        (
            lambda path: kd.lm.TextFolder(path / "latin.txt", shuffle=False),
            r"latin\.txt is not UTF-8, at byte 1",
        ),
        (
            lambda path: kd.lm.TextFolder(path, pattern="*.rst", shuffle=False),
            r"The folder .* has no file '\*\.rst'",
        ),
        (
            lambda path: kd.lm.Hdf5(path / "latin.txt", shuffle=False),
            r"latin\.txt cannot be read as HDF5",
        ),
        (
            lambda path: kd.lm.Hdf5(path / "a.h5", keys=["scores"], shuffle=False),
            r"no dataset 'scores'. Did you mean 'score'",
        ),
        (
            lambda path: kd.lm.Hdf5(
                path / "a.h5", keys=["score", "short"], shuffle=False
            ),
            r"equally many rows: got .*'score': 5, 'short': 3",
        ),
    ],
)
def test_mistakes_are_told(lines, hdf5, make, words):
    (lines / "bad.jsonl").write_text('{"text": "a"}\n\n{"text": \n{"text": "b"}\n')
    (lines / "list.jsonl").write_text("[1]\n")
    (lines / "latin.txt").write_bytes(b"a\xe9")
    with pytest.raises((ValueError, KeyError), match=words):
        _all(make(lines))
