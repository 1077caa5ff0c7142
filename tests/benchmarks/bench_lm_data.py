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

import numpy as np
import pytest

from kauldron import kd
from tests.benchmarks import clocks

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

_LENGTH = 1024
_NUM_BYTES = 16_000_000
_NUM_WORKERS, _NUM_ROUNDS = 2, 3

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
def test_tokenizing_and_packing_is_faster_than_datasets_map(corpus, tmp_path):
    other = subprocess.Popen(
        [os.environ["KAULDRON_TORCH_PYTHON"], "-c", _DATASETS, str(corpus)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    pairs = []
    with other:
        for turn in range(_NUM_ROUNDS):
            outs = [tmp_path / f"{side}{turn}" for side in ("ours", "theirs")]
            num_rows, ours = clocks.measured(
                lambda out=outs[0]: _make_rows(corpus, out)
            )
            print(outs[1], file=other.stdin, flush=True)
            their_rows, *theirs = map(float, other.stdout.readline().split())
            for out in outs:
                shutil.rmtree(out)
            pairs.append((theirs, ours))
            print(
                f"\n{num_rows} rows of {_LENGTH} in {ours[0]:.1f} s (of processors "
                f"{ours[1]:.1f} s), datasets.map {their_rows:.0f} in {theirs[0]:.1f} s "
                f"({theirs[1]:.1f} s)"
            )
        other.stdin.close()
    ratios = np.array(pairs)[:, 0] / np.array(pairs)[:, 1]
    wall, processor = np.median(ratios, axis=0)
    print(
        f"{wall:.2f} ({ratios[:, 0].min():.2f} to {ratios[:, 0].max():.2f} over single "
        f"rounds) times as fast as datasets.map, by processor time {processor:.2f} "
        "(target 2)"
    )
    assert wall >= 2
