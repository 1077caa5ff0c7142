"""Language model examples train some steps, with stand-ins for data and model."""

from __future__ import annotations

import importlib
import json

import jax
import numpy as np
import pytest

from examples import shakespeare_data
from kauldron import kd, konfig

pytestmark = pytest.mark.smoke

_TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}\n"
    "{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
_WORDS = ("sun", "moon", "star", "king", "crown", "fool", "sword", "rose", "thorn")


def _sentence(rng):
    words = rng.choice(_WORDS, size=6)
    return f"The {' and the '.join(words)}."


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A folder with plays, dialogs, and a published model of one layer."""
    root, rng = tmp_path_factory.mktemp("lm"), np.random.default_rng(0)
    (root / "comedies").mkdir()
    for play in ("twelfth-night", "much-ado", "as-you-like-it"):
        text = "\n".join(_sentence(rng) for _ in range(120))
        (root / "comedies" / f"{play}.md").write_text(text)
    records = [
        {"category": "made up", "turns": [f"What of {i}?", _sentence(rng)]}
        for i in range(60)
    ]
    lines = [json.dumps(record) for record in records]
    (root / "dialogs.jsonl").write_text("\n".join(lines) + "\n")
    texts = [turn for record in records for turn in record["turns"]]
    tokenizer = kd.lm.Tokenizer.train(
        [*texts, *(text.upper() for text in texts), "user assistant"],
        320,
        chat_template=_TEMPLATE,
    )
    model = kd.nn.decoder(
        "llama",
        vocab_size=320,
        features=32,
        num_layers=1,
        num_heads=2,
        hidden_features=64,
        has_tied_head=True,
        tokens="batch.tokens",
    )
    params = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 4), np.int32))
    kd.lm.save(root / "model", model, params["params"], tokenizer)
    return root


def train(example, tmp_path, **changes):
    """Runs an example with changes; returns what it wrote, by collection and step."""
    cfg = importlib.import_module(f"examples.{example}").get_config()
    cfg.workdir = str(tmp_path)
    for path, value in changes.items():
        kd.kontext.set_by_path(cfg, path.replace("__", "."), value)
    konfig.resolve(cfg).train()
    return read(tmp_path)


def read(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return {(r["collection"], r["step"]): r for r in records}


def test_a_decoder_is_pretrained_on_plays(stand_in, tmp_path):
    records = train(
        "lm_pretrain",
        tmp_path,
        aux__folder=str(stand_in),
        aux__vocab_size=300,
        aux__length=32,
        model__features=16,
        model__num_layers=1,
        model__num_heads=2,
        model__hidden_features=32,
        aux__batch_size=8,
        num_train_steps=30,
        log_metrics_every=29,
    )
    first, last = (records["train", step]["losses/nats"] for step in (0, 29))
    assert last < 0.8 * first
    measured = records["plays", 30]
    assert 0 < measured["metrics/bits_per_byte"] < 8
    assert measured["metrics/perplexity"] < 300


def test_a_chat_model_is_tuned_on_dialogs(stand_in, tmp_path):
    records = train(
        "lm_sft",
        tmp_path,
        aux__model=str(stand_in / "model"),
        aux__folder=str(stand_in),
        aux__length=64,
        aux__batch_size=8,
        num_train_steps=20,
        log_metrics_every=10,
    )
    before, after = (records["answers", step]["losses/nats"] for step in (0, 20))
    assert after < before


def test_a_chat_model_learns_what_is_preferred(stand_in, tmp_path):
    records = train(
        "lm_dpo",
        tmp_path,
        aux__model=str(stand_in / "model"),
        aux__folder=str(stand_in),
        aux__batch_size=8,
        num_train_steps=30,
        log_metrics_every=10,
    )
    before, after = (
        records["pairs", step]["metrics/rewards/accuracy"] for step in (0, 30)
    )
    assert before == 0.5
    assert after >= 0.9


def test_a_chat_model_learns_by_trying(stand_in, tmp_path):
    pattern = "(?s).*[aeou].*"
    # Whose tokens can become likely: the embeddings are its head.
    model, params, tokenizer = kd.lm.load(stand_in / "model")
    params = {**params, "embedding": 8 * params["embedding"]}
    folder = kd.lm.save(tmp_path / "model", model, params, tokenizer)
    records = train(
        "lm_grpo",
        tmp_path / "run",
        aux__model=str(folder),
        aux__length=96,
        aux__targets=["**.kernel"],
        aux__max_tokens=4,
        aux__batch_size=32,
        train_ds__rewards__format__pattern=pattern,
        evals__held_out__metrics__reward__rewards__format__pattern=pattern,
        optimizer__adam__learning_rate=1e-2,
        num_train_steps=40,
    )
    before, after = (records["held_out", i]["metrics/reward/format"] for i in (0, 40))
    assert after > before + 0.3


def test_ngram_model_of_hand_worked_bytes():
    # `a` came 3 times, `b` once: two kinds share 2 / (4 + 2) with an even 256th.
    def unigram(count):
        return (count + 2 / 256) / 6

    expected = -np.log2([unigram(3), unigram(1)]).mean()
    bits = shakespeare_data.ngram_bits(b"aaba", b"ab", order=1)
    assert bits == pytest.approx(expected)
    # After `a`, once each `a` and `b`; nothing is known after the first byte's beginning.
    second = (1 + 2 * unigram(1)) / 4
    expected = -np.log2([unigram(3), second]).mean()
    bits = shakespeare_data.ngram_bits(b"aaba", b"ab", order=2)
    assert bits == pytest.approx(expected)
