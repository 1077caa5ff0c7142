"""`kauldron lm prepare`: texts to shards, and what is said about it."""

from __future__ import annotations

import json

import pytest

from kauldron import kd
from kauldron.cli import lm_prepare

_FLAGS = ("--vocab_size=300", "--separator=\\n\\n", "--num_workers=1")


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "texts").mkdir()
    for name in "ab":
        text = "\n\n".join(f"{name}: to be or not to be {i}" for i in range(6))
        (tmp_path / "texts" / f"{name}.txt").write_text(text)
    return f"--inputs={tmp_path}/texts/*.txt"


def test_texts_become_shards_that_training_reads(call, texts, tmp_path):
    out = tmp_path / "shards"
    flags = (texts, f"--out={out}", "--documents_per_shard=8", *_FLAGS)
    code, printed, _ = call(lm_prepare.main, *flags)
    lines = printed.splitlines()
    assert code == 0 and len(lines) == 3
    assert lines[0].startswith("00000: 8 documents, ")
    assert lines[2].startswith(f"{out}: 12 documents, ")
    ds = kd.lm.TokenShards(out, length=16, shuffle=True, batch_size=2, seed=0)
    assert next(iter(ds))["tokens"].shape == (2, 16)
    # Once more, with the tokenizer that was learnt: nothing is made again.
    code, printed, _ = call(lm_prepare.main, *flags, "--json")
    assert code == 0 and json.loads(printed)["total"]["num_documents"] == 12
    code, _, err = call(lm_prepare.main, *flags, "--vocab_size=258")
    assert code == 2 and "now vocab_size=258. Use another folder" in err


def test_the_tokenizer_of_a_model_is_taken(call, texts, tmp_path):
    tokenizer = kd.lm.Tokenizer.train(["to be or not"] * 3, vocab_size=270)
    tokenizer.save(tmp_path / "model")
    out = tmp_path / "shards"
    code, _, _ = call(
        lm_prepare.main, texts, f"--out={out}", f"--tokenizer={tmp_path / 'model'}"
    )
    assert code == 0
    ds = kd.lm.TokenShards(out, shuffle=False, tokenizer=tokenizer)
    assert ds.manifest.total.num_documents == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "Name a tokenizer, a folder or a GGUF file, or a `vocab_size`"),
        (("--tokenizer=nowhere",), "no tokenizer.json in 'nowhere'"),
        (("--vocab_size=300", "--key=body", "--inputs={dir}/a.jsonl"), "has no 'body'"),
        (("--vocab_size=300", "--inputs={dir}/none.txt"), "no file"),
        (("--vocab_size=300", "--inputs="), "Say --inputs"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    call, texts, tmp_path, flags, words
):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    flags = [flag.format(dir=tmp_path) for flag in flags]
    inputs = [] if any("--inputs" in flag for flag in flags) else [texts]
    code, _, err = call(lm_prepare.main, *inputs, f"--out={tmp_path / 'out'}", *flags)
    assert code == 2 and words in err
    assert not (tmp_path / "out").exists()
