"""Speed of token data: texts to packed rows, against `datasets.map` with the same tokenizer.

Run with `make bench`; needs `datasets` and `transformers`, and is left out without them. Both
sides read the same JSON lines with two processes, and end with rows of 1,024 tokens. They are
measured in turns, and the best turn counts: other programs only ever make things slower.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import shutil
import sysconfig
import time

import pytest

from kauldron import kd

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

_LENGTH = 1024
_NUM_BYTES = 16_000_000
_NUM_WORKERS = 2


def _texts():
    """The sources of Python's standard library, in pieces of 2,000 characters."""
    size = 0
    for file in sorted(pathlib.Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in file.parts:
            continue
        text = file.read_text("utf-8", errors="ignore")
        for start in range(0, len(text), 2000):
            yield text[start : start + 2000]
        size += len(text)
        if size > _NUM_BYTES:
            return


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    texts = list(_texts())
    lines = (json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "texts.jsonl").write_text("".join(lines), "utf-8")
    tokenizer = kd.lm.Tokenizer.train(itertools.islice(texts, 2000), vocab_size=8192)
    tokenizer.save(folder / "tokenizer")
    return folder


def _ours(corpus, out):
    """Returns how many rows there are."""
    kd.lm.prepare(
        kd.lm.source_of([str(corpus / "texts.jsonl")]),
        out,
        tokenizer=kd.lm.Tokenizer.from_folder(corpus / "tokenizer"),
        documents_per_shard=1000,
        num_workers=_NUM_WORKERS,
    )
    rows = kd.lm.TokenShards(
        out, length=_LENGTH, shuffle=True, batch_size=8, num_epochs=1, seed=0
    )
    return sum(len(batch["tokens"]) for batch in rows.for_evaluation())


def _theirs(corpus, out):
    """The published recipe for causal language models: tokenize, join, cut."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(corpus / "tokenizer" / "tokenizer.json")
    )

    def tokenize(batch):
        return tokenizer([f"{text}</s>" for text in batch["text"]])

    def cut(batch):
        joined = {key: list(itertools.chain(*batch[key])) for key in batch}
        end = len(joined["input_ids"]) // _LENGTH * _LENGTH
        starts = range(0, end, _LENGTH)
        rows = {k: [t[i : i + _LENGTH] for i in starts] for k, t in joined.items()}
        return {**rows, "labels": rows["input_ids"].copy()}

    lines = datasets.load_dataset(
        "json",
        data_files=str(corpus / "texts.jsonl"),
        split="train",
        cache_dir=str(out),
    )
    options = {"batched": True, "num_proc": _NUM_WORKERS, "load_from_cache_file": False}
    tokens = lines.map(tokenize, remove_columns=["text"], **options)
    return len(tokens.map(cut, **options))


def test_tokenizing_and_packing_is_faster_than_datasets_map(corpus, tmp_path):
    pytest.importorskip("datasets")
    pytest.importorskip("transformers")
    secs = {}
    for turn in range(2):
        for side in (_ours, _theirs):
            out = tmp_path / f"{side.__name__}{turn}"
            begin = time.perf_counter()
            num_rows = side(corpus, out)
            taken = time.perf_counter() - begin
            secs[side] = min(taken, secs.get(side, taken))
            shutil.rmtree(out)
            print(f"{side.__name__}: {num_rows} rows of {_LENGTH} in {taken:.1f} s")
    ratio = secs[_theirs] / secs[_ours]
    print(f"{ratio:.2f} times as fast as datasets.map")
    assert ratio >= 2
