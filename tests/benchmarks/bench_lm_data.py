"""Speed of token data: texts to packed rows, against `datasets.map` with the same tokenizer.

`datasets` runs in an environment of its own, with transformers: `KAULDRON_TORCH_PYTHON` names
its Python. Both sides read the same JSON lines with two processes, and end with rows of 1,024
tokens. They are measured in turns, by the clock and by the time of all processors.
"""

from __future__ import annotations

import inspect
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sysconfig

import pytest

from kauldron import kd
from tests.benchmarks import clocks

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

_LENGTH = 1024
_NUM_BYTES = 16_000_000
_NUM_WORKERS = 2

# Makes rows each time a folder is written to it; prints their number, and the seconds.
_DATASETS = f"""
{inspect.getsource(clocks)}
import itertools, sys, datasets, transformers

datasets.disable_progress_bars()
corpus = sys.argv[1]
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_file=f"{{corpus}}/tokenizer/tokenizer.json"
)

def tokenize(batch):
    return tokenizer([f"{{text}}</s>" for text in batch["text"]])

# The published recipe for causal language models: tokenize, join, cut.
def cut(batch):
    joined = {{key: list(itertools.chain(*batch[key])) for key in batch}}
    end = len(joined["input_ids"]) // {_LENGTH} * {_LENGTH}
    starts = range(0, end, {_LENGTH})
    rows = {{k: [t[i : i + {_LENGTH}] for i in starts] for k, t in joined.items()}}
    return {{**rows, "labels": rows["input_ids"].copy()}}

def make_rows(out):
    lines = datasets.load_dataset(
        "json", data_files=f"{{corpus}}/texts.jsonl", split="train", cache_dir=out
    )
    options = dict(batched=True, num_proc={_NUM_WORKERS}, load_from_cache_file=False)
    tokens = lines.map(tokenize, remove_columns=["text"], **options)
    return len(tokens.map(cut, **options))

for line in sys.stdin:
    num_rows, secs = measured(lambda: make_rows(line.strip()))
    print(num_rows, *secs, flush=True)
"""


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


def _make_rows(corpus, out):
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


@pytest.mark.skipif(
    "KAULDRON_TORCH_PYTHON" not in os.environ, reason="no Python with datasets"
)
def test_tokenizing_and_packing_is_faster_than_datasets_map(corpus, tmp_path, figures):
    other = subprocess.Popen(
        [os.environ["KAULDRON_TORCH_PYTHON"], "-c", _DATASETS, str(corpus)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    num_rows = {}

    def ours():
        out = tmp_path / "ours"
        num_rows["ours"], secs = clocks.measured(lambda: _make_rows(corpus, out))
        shutil.rmtree(out)
        return secs

    def theirs():
        out = tmp_path / "theirs"
        print(out, file=other.stdin, flush=True)
        num_rows["theirs"], *secs = map(float, other.stdout.readline().split())
        shutil.rmtree(out)
        return clocks.Secs(*secs)

    with other:
        secs = clocks.in_turn({"ours": ours, "theirs": theirs})
        other.stdin.close()
    # `datasets` leaves the rest of each group of texts out.
    assert num_rows["theirs"] <= num_rows["ours"] <= 1.05 * num_rows["theirs"]
    alone = clocks.medians(secs["theirs"]).wall
    figures.ratio(
        f"{_NUM_BYTES // 10**6} MB of text as rows of {_LENGTH} tokens, two workers: speed",
        secs["theirs"],
        secs["ours"],
        against=f"that of `datasets.map` with the same tokenizer ({alone:.2g} s)",
        budget=2,
        is_more_better=True,
    )
