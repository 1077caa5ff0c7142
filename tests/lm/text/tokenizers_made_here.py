"""Small tokenizers of the three families: byte-level, byte-fallback, Metaspace."""

from __future__ import annotations

import functools

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from kauldron import kd

TEXTS = [
    "To be, or not to be, that is the question:",
    "Whether 'tis nobler in the mind to suffer  the slings and arrows of 1601",
    "naïve café, Größe, 東京, €20, 👍🏽 done\n\tindented",
] * 3
SPECIAL = {"pad": "<pad>", "bos": "<s>", "eos": "</s>"}


@functools.cache
def byte_level() -> kd.lm.Tokenizer:
    """GPT-2's kind: bytes under letters that stand for them."""
    special = kd.lm.SpecialTokens(**SPECIAL, others=("<|im_start|>",))
    return kd.lm.Tokenizer.train(TEXTS, vocab_size=400, special=special)


@functools.cache
def byte_fallback() -> kd.lm.Tokenizer:
    """LLaMA 2's kind: spaces are letters, unknown characters become bytes."""
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = sorted(set("".join(TEXTS[:2]).replace(" ", "▁")) | {"▁"})
    words = ["▁t", "▁be", "▁to", "or", "▁th", "▁the", "▁▁", "▁n", "e▁"]
    vocab = {
        token: i
        for i, token in enumerate(["<unk>", *SPECIAL.values(), *names, *letters])
    }
    merges = []
    for word in words:
        for i in range(1, len(word)):
            if word[:i] in vocab and word[i:] in vocab and word not in vocab:
                vocab[word] = len(vocab)
                merges.append((word[:i], word[i:]))
    model = models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True)
    rust = tokenizers.Tokenizer(model)
    rust.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    rust.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    rust.add_special_tokens(["<unk>", *SPECIAL.values()])
    special = kd.lm.SpecialTokens(**SPECIAL, unk="<unk>")
    return kd.lm.Tokenizer(definition=rust.to_str(), special=special)


@functools.cache
def metaspace() -> kd.lm.Tokenizer:
    """sentencepiece's kind: words begin with a mark, the first space is no text."""
    rust = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    rust.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=150, special_tokens=["<unk>", *SPECIAL.values()], show_progress=False
    )
    rust.train_from_iterator(TEXTS, trainer)
    special = kd.lm.SpecialTokens(**SPECIAL, unk="<unk>")
    return kd.lm.Tokenizer(definition=rust.to_str(), special=special)


ALL = {"byte level": byte_level, "byte fallback": byte_fallback, "metaspace": metaspace}
