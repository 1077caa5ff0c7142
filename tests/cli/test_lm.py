"""`kauldron lm <verb>`: what each command prints, with a small model in a folder."""

from __future__ import annotations

import json

import pytest

from kauldron import kd
from kauldron.cli import lm
from tests.lm import small_model

_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_model.save(tmp_path_factory.mktemp("lm") / "small")


@pytest.fixture(scope="module")
def chat_folder(folder, tmp_path_factory):
    import dataclasses
    import shutil

    path = tmp_path_factory.mktemp("lm") / "chat"
    shutil.copytree(folder, path)
    tokenizer = kd.lm.Tokenizer.from_folder(folder)
    dataclasses.replace(tokenizer, chat_template=_TEMPLATE).save(path)
    return path


def test_generate_goes_on_with_a_text(call, folder):
    code, out, err = call(
        lm.generate, f"--model={folder}", "--prompt=To be", "--max_tokens=8"
    )
    assert (code, err.count("From")) == (0, 1)
    (expected,) = kd.lm.text_generator(folder)(["To be"], max_tokens=8)
    assert out == f"{expected}\n"


def test_what_no_draw_can_have_is_told_before_the_model_is_loaded(call):
    flags = ("--model=nowhere", "--prompt=To be", "--top_p=2")
    code, _, err = call(lm.generate, *flags)
    assert code == 2 and "`top_p` must be in (0, 1], or None: got 2.0" in err


def test_generate_asks_a_model_for_conversations_unless_the_prompt_is_raw(
    call, chat_folder
):
    generator = kd.lm.text_generator(chat_folder)
    conversation = [{"role": "user", "content": "To be"}]
    answer, text = (generator([p], max_tokens=8)[0] for p in (conversation, "To be"))
    flags = (f"--model={chat_folder}", "--prompt=To be", "--max_tokens=8")
    assert call(lm.generate, *flags)[:2] == (0, f"{answer}\n")
    assert call(lm.generate, *flags, "--raw")[:2] == (0, f"{text}\n")
    assert answer != text


def test_chat_answers_each_line_until_there_are_no_more(call, chat_folder, monkeypatch):
    lines = iter(["To be", "/reset", "Fox"])

    def ask(prompt):
        line = next(lines, None)
        if line is None:
            raise EOFError
        return line

    monkeypatch.setattr("builtins.input", ask)
    code, out, _ = call(lm.chat, f"--model={chat_folder}", "--max_tokens=8")
    assert code == 0
    generator = kd.lm.text_generator(chat_folder)
    answers = [
        generator([[{"role": "user", "content": text}]], max_tokens=8)[0]
        for text in ("To be", "Fox")
    ]
    assert out == "\n".join(["Ctrl-D or /quit ends, /reset begins anew.", *answers, ""])


def test_score_prints_measures_as_json(call, folder, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(small_model.TEXT)
    flags = (f"--model={folder}", f"--file={file}", "--window=16", "--stride=5")
    code, out, _ = call(lm.score, *flags, "--json")
    assert code == 0
    found = json.loads(out)
    assert (
        found["num_tokens"] == small_model.tokenizer().encode(small_model.TEXT).size - 1
    )
    assert found["perplexity"] > 1
    assert "bits per byte" in call(lm.score, *flags)[1]


def test_convert_writes_what_is_loaded_again(call, folder, tmp_path):
    out = tmp_path / "converted"
    assert call(lm.convert, f"--model={folder}", f"--out={out}")[0] == 0
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    code, _, err = call(lm.convert, f"--model={folder}", f"--out={out}")
    assert code == 2
    assert "exists already" in err
    flags = ("--overwrite", "--dtype=bfloat16")
    assert call(lm.convert, f"--model={folder}", f"--out={out}", *flags)[0] == 0
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("command", "flags", "message"),
    [
        (lm.generate, ["--model=smollm2"], "Say --prompt"),
        (lm.generate, ["--prompt=a"], "Say --model"),
        (lm.score, ["--model=smollm2", "--file={dir}/empty.txt"], "there is no text"),
        (
            lm.convert,
            ["--model={dir}", "--out=y"],
            "it has 'empty.txt' and 'sub'. A Hu",
        ),
        (lm.convert, ["--model={dir}/empty.txt", "--out=y"], "a file, and no GGUF"),
        (lm.convert, ["--model={dir}/sub", "--out=y"], "it has nothing in it"),
        (lm.generate, ["--prompt=a", "--model=smolm2"], "Did you mean 'smollm2'?"),
        (lm.score, ["--model=smollm2", "--file=nowhere.txt"], "cannot be read as text"),
        (
            lm.convert,
            ["--model=x", "--out=y", "--dtype=int8"],
            "must be one of float32",
        ),
    ],
)
def test_mistakes_are_told_before_a_model_is_loaded(
    call, tmp_path, command, flags, message
):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "sub").mkdir()
    code, _, err = call(command, *(flag.format(dir=tmp_path) for flag in flags))
    assert code == 2
    assert message in err
