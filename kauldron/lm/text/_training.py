"""Training of byte-level BPE tokenizers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kauldron.lm.text import _errors, _packages

_NUM_BYTES = 256


def byte_level_bpe(
    corpus: Iterable[str],
    vocab_size: int,
    *,
    special_tokens: Sequence[str],
    split_digits: bool,
    min_frequency: int,
) -> str:
    """Returns the definition of a trained tokenizer; see `Tokenizer.train`.

    Raises:
      TokenizerError: If the corpus is empty, or `vocab_size` is too small.
    """
    if isinstance(corpus, str):
        raise _errors.TokenizerError(
            "`corpus` is an iterable of texts: got one text. Write `[text]`, or split it "
            "at its lines."
        )
    least = _NUM_BYTES + len(special_tokens)
    if vocab_size < least:
        raise _errors.TokenizerError(
            f"`vocab_size` must be at least {least}, for 256 bytes and "
            f"{len(special_tokens)} special tokens: got {vocab_size}."
        )
    tokenizers = _packages.load("tokenizers", "`kd.lm.Tokenizer.train`")
    pre_tokenizers = tokenizers.pre_tokenizers
    rust = tokenizers.Tokenizer(tokenizers.models.BPE())
    rust.pre_tokenizer = byte_level(tokenizers, split_digits=split_digits)
    rust.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(special_tokens),
        # Sorted: in the order of the package ids would differ from run to run.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = _Texts(corpus)
    rust.train_from_iterator(iter(texts), trainer)
    if not texts.num_characters:
        raise _errors.TokenizerError(
            "The corpus is empty: there is no text to learn a vocabulary from."
        )
    return rust.to_str()


def byte_level(tokenizers: Any, *, split_digits: bool) -> Any:
    """Returns GPT-2's division into words, then into bytes."""
    pre_tokenizers = tokenizers.pre_tokenizers
    of_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if not split_digits:
        return of_bytes
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, of_bytes])


class _Texts:
    """Passes texts on, and remembers whether there were any."""

    def __init__(self, corpus: Iterable[str]) -> None:
        self._corpus = corpus
        self.num_characters = 0

    def __iter__(self) -> Iterator[str]:
        for index, text in enumerate(self._corpus):
            if not isinstance(text, str):
                raise _errors.TokenizerError(
                    f"Text {index} of the corpus is a `{type(text).__name__}`."
                )
            self.num_characters += len(text)
            yield text
