"""Texts, conversations, preferences and prompts become tokens."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd
from tests.lm.text import tokenizers_made_here

_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CHAT = [
    {"role": "user", "content": "to be"},
    {"role": "assistant", "content": "or not"},
]


@pytest.fixture(scope="module")
def tokenizer():
    made = tokenizers_made_here.byte_level()
    return kd.lm.Tokenizer(
        definition=made.definition, special=made.special, chat_template=_TEMPLATE
    )


def _learnt(tokenizer, row):
    return tokenizer.decode(row["targets"][row["loss_mask"] > 0], skip_special=False)


def test_a_text_becomes_tokens_and_its_end(tokenizer):
    found = kd.lm.Tokenize(tokenizer=tokenizer)({"text": "to be </s>", "id": 3})
    expected = [*tokenizer.encode("to be </s>"), tokenizer.eos_id]
    assert found["id"] == 3 and "text" not in found
    assert found["tokens"].tolist() == expected


def test_rows_of_texts_are_tokenized_together(tokenizer):
    texts = ["to be", "or", "not to be that"]
    ds = kd.data.py.DataSource(
        [{"text": text} for text in texts],
        shuffle=False,
        batch_size=1,
        num_epochs=1,
        seed=0,
        transforms=[
            kd.lm.Tokenize(tokenizer=tokenizer, add_bos=True),
            kd.lm.Pack(length=64),
        ],
    )
    (batch,) = ds
    ids, tokens = batch["segment_ids"][0], batch["tokens"][0]
    assert [tokenizer.decode(tokens[ids == i]) for i in (1, 2, 3)] == texts
    assert tokens[0] == tokenizer.bos_id


def test_of_a_conversation_the_answers_are_learnt(tokenizer):
    element = {"messages": _CHAT * 2, "source": 1}
    found = kd.lm.ChatToTokens(tokenizer=tokenizer)(element)
    assert found.keys() == {"tokens", "loss_mask", "source"}
    (row,) = kd.lm.Pack(length=256).map_chunk([found])
    assert _learnt(tokenizer, row) == "or not</s>or not</s>"
    everyone = kd.lm.ChatToTokens(tokenizer=tokenizer, roles=["user", "assistant"])
    assert everyone(element)["loss_mask"].sum() > found["loss_mask"].sum()


@pytest.mark.parametrize("whole", [False, True])
def test_of_a_preference_only_the_answers_are_learnt(tokenizer, whole):
    prompt = [*_CHAT, {"role": "user", "content": "that is"}]
    element = {"chosen": "the question", "rejected": "the mind"}
    if whole:
        element = {
            key: [*prompt, {"role": "assistant", "content": text}]
            for key, text in element.items()
        }
    else:
        element["prompt"] = prompt
    pair = kd.lm.PreferencePair(tokenizer=tokenizer, length=128)(element)
    assert pair.keys() == {"chosen", "rejected"}
    assert _learnt(tokenizer, pair["chosen"]) == "the question</s>"
    assert _learnt(tokenizer, pair["rejected"]) == "the mind</s>"
    for row in pair.values():
        assert {value.shape for value in row.values()} == {(128,)}
    num_shared = len(
        kd.lm.ChatTemplate.of(tokenizer).encode(
            tokenizer, prompt, add_generation_prompt=True
        )
    )
    np.testing.assert_array_equal(
        *(row["tokens"][:num_shared] for row in pair.values())
    )


def test_pairs_make_batches_of_two_groups(tokenizer):
    source = [{"prompt": "a", "chosen": "b" * n, "rejected": "c"} for n in range(1, 6)]
    transform = kd.lm.PreferencePair(tokenizer=tokenizer, length=64)
    ds = kd.data.py.DataSource(
        source, shuffle=True, batch_size=2, seed=0, transforms=[transform]
    )
    kd.testing.check_pipeline(lambda: ds, num_batches=4)
    assert ds.element_spec["chosen"]["tokens"].shape == (2, 64)


@pytest.mark.parametrize("pad", ["left", "right"])
def test_a_prompt_ends_with_the_beginning_of_an_answer(tokenizer, pad):
    transform = kd.lm.Prompt(tokenizer=tokenizer, length=64, pad=pad)
    found = transform({"prompt": "to be?", "answer": "yes"})
    assert found.keys() == {"tokens", "positions", "segment_ids", "answer"}
    is_real = found["segment_ids"] == 1
    assert is_real[-1 if pad == "left" else 0] and not is_real.all()
    text = tokenizer.decode(found["tokens"][is_real], skip_special=False)
    assert text == "<|im_start|>user\nto be?</s><|im_start|>assistant\n"
    assert found["positions"][is_real].tolist() == list(range(is_real.sum()))


def test_without_a_template_a_prompt_is_a_text_to_continue():
    tokenizer = tokenizers_made_here.byte_level()
    found = kd.lm.Prompt(tokenizer=tokenizer, length=16)({"prompt": "to be"})
    tokens = found["tokens"][found["segment_ids"] == 1]
    np.testing.assert_array_equal(tokens, tokenizer.encode("to be"))


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda t: kd.lm.Tokenize(tokenizer=t)({"txt": "a"}), r"no key 'text'.*'txt'"),
        (
            lambda t: kd.lm.Tokenize(
                tokenizer=kd.lm.Tokenizer(definition=t.definition)
            ),
            "no eos token",
        ),
        (
            lambda t: kd.lm.ChatToTokens(tokenizer=t)({"messages": _CHAT[:1]}),
            r"nothing of this conversation.*\['assistant'\].*\['user'\]",
        ),
        (
            lambda t: kd.lm.ChatToTokens(
                tokenizer=t,
                template=kd.lm.ChatTemplate(text="{{ strftime_now('%d') }}"),
            )({"messages": _CHAT}),
            "writes today's date",
        ),
        (
            lambda t: kd.lm.PreferencePair(tokenizer=t, length=4)(
                {"prompt": "a", "chosen": "b", "rejected": "c"}
            ),
            "more than the 4 of a row",
        ),
        (
            lambda t: kd.lm.PreferencePair(tokenizer=t, length=64)(
                {"prompt": "a", "chosen": "b", "rejected": "b"}
            ),
            "both answers are the same",
        ),
        (lambda t: kd.lm.Prompt(tokenizer=t, length=4, pad="top"), "`pad` is one of"),
        (
            lambda t: kd.lm.Prompt(tokenizer=t, length=4)({"prompt": "a"}),
            "more than the 4 of a row",
        ),
    ],
)
def test_mistakes_are_told(tokenizer, act, words):
    with pytest.raises((ValueError, KeyError), match=words):
        act(tokenizer)
