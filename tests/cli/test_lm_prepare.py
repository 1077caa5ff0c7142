"""`kauldron lm prepare`: texts to shards, and what is said about it."""

from __future__ import annotations

import json

import numpy as np
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
    told = json.loads(printed)
    assert (code, told["total"]["num_documents"], told["num_made"]) == (0, 12, 0)
    _, printed, _ = call(lm_prepare.main, *flags)
    assert printed.splitlines() == [
        "Nothing to do: all shards were there already.",
        lines[2],
    ]
    for size in (258, 400):  # though the corpus has less than 300
        code, _, err = call(lm_prepare.main, *flags, f"--vocab_size={size}")
        expected = f"`vocab_size` was 300, now it is {size}. Use another folder"
        assert code == 2 and expected in err


def test_of_conversations_it_is_kept_who_is_to_be_learnt(call, tmp_path):
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    tokenizer = kd.lm.Tokenizer.train(
        ["to be or not"] * 3, vocab_size=270, chat_template=template
    )
    tokenizer.save(tmp_path / "model")
    questions = ["to be?", "or not?", "to?"]
    chats = [
        [
            {"role": "user", "content": question},
            {"role": "assistant", "content": f"not {i}"},
        ]
        for i, question in enumerate(questions)
    ]
    chats.insert(1, [{"role": "user", "content": "nobody answers"}])
    lines = [json.dumps({"messages": messages}) + "\n" for messages in chats]
    (tmp_path / "chats.jsonl").write_text("".join(lines))
    out = tmp_path / "shards"
    flags = (f"--inputs={tmp_path}/chats.jsonl", f"--out={out}", "--num_workers=1")
    flags += ("--documents_per_shard=2", f"--tokenizer={tmp_path}/model")
    code, printed, err = call(lm_prepare.main, *flags, "--roles=assistant")
    assert code == 0, err
    assert "of them to learn, 1 empty ones left out" in printed
    transform = kd.lm.ChatToTokens(tokenizer=tokenizer)
    kept = [transform.map({"messages": messages}) for messages in chats if messages[1:]]
    documents = kd.lm.TokenShards(out, shuffle=False).data_source
    for i, expected in enumerate(kept):
        for key, values in expected.items():
            np.testing.assert_array_equal(documents[i][key], values)
    # Rows, with a shard's end in the middle, are those of packing all together.
    rows = kd.lm.TokenShards(out, length=16, shuffle=False).data_source
    packed = kd.lm.Pack(length=16, method="concat_split").map_chunk(kept)
    for i, row in enumerate(packed):
        for key, values in row.items():
            np.testing.assert_array_equal(rows[i][key], values)
    code, _, err = call(lm_prepare.main, *flags, "--roles=user")
    assert code == 2 and "`beginning` was" in err


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
        (
            ("--vocab_size=300", "--roles=assistant"),
            "with the chat template of a model",
        ),
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
