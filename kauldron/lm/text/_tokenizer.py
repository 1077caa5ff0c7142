"""`Tokenizer`: text to token ids and back, with the special tokens of a model.

The `tokenizers` package does the work. Around it are the rules that keep two kinds of
text apart: what a person wrote, which never becomes a special token, and what a chat
template wrote, which may.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from kauldron.lm.text import (
    _errors,
    _gguf_vocabulary,
    _stream,
    _tokenizer_files,
    _training,
    _vocabulary,
)

if TYPE_CHECKING:
    from kauldron.lm.text._tokenizer_files import SpecialTokens


class TokensAndOffsets(NamedTuple):
    """The tokens of a text, and where they stand in it.

    Attributes:
      tokens: `i32[n]`.
      offsets: `i32[n 2]`, first character and the one behind the last; the tokens of a
        character that takes several have all its offsets.
    """

    tokens: np.ndarray
    offsets: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tokenizer:
    """Text to token ids and back. Picklable; equal to one that has the same `fingerprint`.

    Make one with `from_folder`, `from_file`, `from_gguf` or `train`. Needs the extra
    `kauldron[lm]`.

    A text never becomes a special token: `"<|im_end|>"` that a person wrote is encoded
    letter by letter, unless `allow_special=True` says that the text was written by a
    template. No `bos` or `eos` is added unless asked.

    Attributes:
      definition: The content of a `tokenizer.json`, as text.
      special: Which tokens have a role: `bos`, `eos`, `pad`, `unk`, and others.
      chat_template: The text of the model's chat template, if it has one.

    Raises:
      TokenizerError: If the definition cannot be read, or a special token is not in the
        vocabulary.

    Example:

    ```python
    tokenizer = kd.lm.Tokenizer.train(["to be or not to be"] * 2, vocab_size=300)
    tokens = tokenizer.encode("to be", add_eos=True)
    assert tokenizer.decode(tokens) == "to be"
    ```
    """

    definition: str = dataclasses.field(repr=False)
    special: SpecialTokens = dataclasses.field(
        default_factory=_tokenizer_files.SpecialTokens
    )
    chat_template: str | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        # Read now: a broken file is told before anything starts.
        for role, token in self.special.by_role().items():
            if self._vocabulary.find(token) is None:
                raise _errors.TokenizerError(
                    f"The {role} token {token!r} is not in the vocabulary of "
                    f"{self.num_tokens} tokens."
                )
        _ = self._vocabulary.plain

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        bos: str | None = None,
        eos: str | None = None,
        pad: str | None = None,
        unk: str | None = None,
    ) -> Self:
        """Reads a `tokenizer.json`.

        The file does not say which token begins or ends a text: the arguments do, or the
        other files of its folder (`from_folder`).

        Raises:
          TokenizerError: If there is no such file, or it is no tokenizer.
        """
        special = _tokenizer_files.SpecialTokens(bos=bos, eos=eos, pad=pad, unk=unk)
        return cls(definition=_tokenizer_files.read_text(path), special=special)

    @classmethod
    def from_folder(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a Hugging Face folder: `tokenizer.json` and what stands beside it.

        `tokenizer_config.json` and `special_tokens_map.json` name the special tokens;
        the chat template is in the former, or in `chat_template.jinja`.

        Raises:
          TokenizerError: If a file is missing or broken.
        """
        definition, special, template = _tokenizer_files.read_folder(path)
        return cls(definition=definition, special=special, chat_template=template)

    @classmethod
    def from_gguf(cls, path: str | os.PathLike[str]) -> Self:
        """Reads the vocabulary of a GGUF file, of the kinds `gpt2` and `llama`.

        Raises:
          TokenizerError: If the file has none, or one of another kind.
        """
        definition, special, template = _gguf_vocabulary.read(path)
        return cls(definition=definition, special=special, chat_template=template)

    @classmethod
    def train(
        cls,
        corpus: Iterable[str],
        vocab_size: int,
        *,
        special: SpecialTokens = _tokenizer_files.FOR_TRAINING,
        split_digits: bool = True,
        min_frequency: int = 2,
        chat_template: str | None = None,
    ) -> Self:
        """Learns a byte-level BPE: every text can be encoded, and comes back unchanged.

        Args:
          corpus: Texts.
          vocab_size: Number of tokens, special ones and the 256 bytes among them. It is
            smaller if the corpus has no more pairs that occur `min_frequency` times.
          special: They get the first ids. By default `<pad>`, `<s>` and `</s>` with the
            roles `pad`, `bos` and `eos`.
          split_digits: Whether each digit is a token of its own.
          min_frequency: How often a pair must occur to become a token.
          chat_template: Kept with the tokenizer.

        Raises:
          TokenizerError: If the corpus is empty, or `vocab_size` is too small.
        """
        definition = _training.byte_level_bpe(
            corpus,
            vocab_size,
            special_tokens=special.all(),
            split_digits=split_digits,
            min_frequency=min_frequency,
        )
        return cls(definition=definition, special=special, chat_template=chat_template)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a folder that `from_folder`, and transformers, read."""
        _tokenizer_files.write_folder(
            path, self._vocabulary.definition(), self.special, self.chat_template
        )

    @functools.cached_property
    def num_tokens(self) -> int:
        """One more than the largest id: rows of the embedding that the tokens need."""
        return self._vocabulary.num_tokens

    @property
    def bos_id(self) -> int | None:
        """Id of the token that begins a text, or `None`."""
        return self._id_of_role("bos")

    @property
    def eos_id(self) -> int | None:
        """Id of the token that ends a text, or `None`."""
        return self._id_of_role("eos")

    @property
    def pad_id(self) -> int | None:
        """Id of the token that fills up rows, or `None`."""
        return self._id_of_role("pad")

    @property
    def unk_id(self) -> int | None:
        """Id of the token for what the vocabulary lacks, or `None`."""
        return self._id_of_role("unk")

    @property
    def special_ids(self) -> dict[str, int]:
        """Token -> id, of all tokens that a text cannot become unless asked."""
        return dict(self._vocabulary.special_ids)

    @functools.cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that end what a model generates: `eos`, and ends of turns."""
        tokens = [self.special.eos, *self.special.ends_of_turn]
        return tuple(dict.fromkeys(self.id_of(t) for t in tokens if t is not None))

    @functools.cached_property
    def fingerprint(self) -> str:
        """32 hex digits, the same for tokenizers that encode and decode alike."""
        definition = json.loads(self._vocabulary.definition())
        what = {"definition": definition, "special": self.special.by_role()}
        text = json.dumps(what, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def id_of(self, token: str) -> int:
        """Returns the id of one token, special or not.

        Raises:
          TokenizerError: If there is none.
        """
        found = self._vocabulary.find(token)
        if found is None:
            raise _errors.TokenizerError(
                f"The vocabulary of {self.num_tokens} tokens has no {token!r}."
            )
        return found

    def token_of(self, token_id: int) -> str:
        """Returns how the vocabulary writes a token."""
        self._check_ids(np.asarray([token_id]))
        return self._vocabulary.plain.id_to_token(int(token_id)) or ""

    def encode(
        self,
        text: str,
        *,
        add_bos: bool = False,
        add_eos: bool = False,
        allow_special: bool = False,
    ) -> np.ndarray:
        """Returns the tokens of a text, `i32[n]`.

        Args:
          text: The text.
          add_bos: Whether `bos_id` stands in front.
          add_eos: Whether `eos_id` stands behind.
          allow_special: Whether special tokens that are written in the text become
            themselves. Only for texts of a template.

        Raises:
          TokenizerError: If a token is to be added that the tokenizer does not have.
        """
        return self.encode_batch(
            [text], add_bos=add_bos, add_eos=add_eos, allow_special=allow_special
        )[0]

    def encode_batch(
        self,
        texts: Sequence[str],
        *,
        add_bos: bool = False,
        add_eos: bool = False,
        allow_special: bool = False,
    ) -> list[np.ndarray]:
        """Returns the tokens of each text, `i32[n]`; see `encode`."""
        before = np.array([self.required_id("bos")] if add_bos else [], np.int32)
        after = np.array([self.required_id("eos")] if add_eos else [], np.int32)
        found = self._vocabulary.encode(
            _checked_texts(texts), allow_special=allow_special
        )
        return [np.concatenate([before, x, after]) for x in found]

    def encode_batch_with_offsets(
        self, texts: Sequence[str], *, allow_special: bool = False
    ) -> list[TokensAndOffsets]:
        """Returns the tokens of each text, and the characters that each stands for."""
        rust = self._vocabulary.encoder(allow_special=allow_special)
        encoded = rust.encode_batch(_checked_texts(texts), add_special_tokens=False)
        return [
            TokensAndOffsets(
                np.array(e.ids, np.int32), np.array(e.offsets, np.int32).reshape(-1, 2)
            )
            for e in encoded
        ]

    def decode(self, tokens: Iterable[int], *, skip_special: bool = True) -> str:
        """Returns the text of tokens; bytes that are no UTF-8 become `\\ufffd`.

        Args:
          tokens: Ids, `i[n]`.
          skip_special: Whether special tokens are left out, rather than written.

        Raises:
          TokenizerError: If an id is not in the vocabulary.
        """
        ids = np.asarray(list(tokens) if not hasattr(tokens, "__array__") else tokens)
        self._check_ids(ids)
        skipped = self._vocabulary.skipped_ids if skip_special else frozenset()
        return self._vocabulary.plain.decode(
            [token for token in ids.tolist() if token not in skipped],
            skip_special_tokens=False,
        )

    def stream_decoder(self, *, skip_special: bool = True) -> _stream.StreamDecoder:
        """Returns what decodes tokens one by one, as a model generates them.

        Example:

        ```python
        stream = tokenizer.stream_decoder()
        pieces = [stream.push(token) for token in tokens] + [stream.finish()]
        assert "".join(pieces) == tokenizer.decode(tokens)
        ```
        """
        skipped = self._vocabulary.skipped_ids if skip_special else frozenset()
        silent = self._vocabulary.byte_ids | skipped
        decode = functools.partial(self.decode, skip_special=skip_special)
        return _stream.StreamDecoder(decode, silent)

    def required_id(self, role: str) -> int:
        """Returns the id of `bos`, `eos`, `pad` or `unk`.

        Raises:
          TokenizerError: If the tokenizer has none.
        """
        found = self._id_of_role(role)
        if found is None:
            raise _errors.TokenizerError(
                f"The tokenizer has no {role} token. It has {self.special.by_role()}: "
                f"name one, as in `Tokenizer.from_file(path, {role}='</s>')`."
            )
        return found

    def check_vocabulary(self, num_rows: int, owner: str) -> None:
        """Raises `TokenizerError` unless an embedding has a row for every token.

        Args:
          num_rows: Rows of the embedding. More than tokens are fine: many models pad.
          owner: Whose embedding it is, for the message.
        """
        if num_rows < self.num_tokens:
            raise _errors.TokenizerError(
                f"{owner} has embeddings for {num_rows} tokens, the tokenizer has "
                f"{self.num_tokens}. Was the tokenizer made for another model?"
            )

    def _id_of_role(self, role: str) -> int | None:
        token = self.special.by_role().get(role)
        return None if token is None else self.id_of(token)

    def _check_ids(self, ids: np.ndarray) -> None:
        if not ids.size:
            return
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise _errors.TokenizerError(
                f"Tokens are whole numbers in one row: got {ids.dtype}{list(ids.shape)}."
            )
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.num_tokens:
            raise _errors.TokenizerError(
                f"The tokenizer has the ids 0 to {self.num_tokens - 1}: got "
                f"{low if low < 0 else high}. Did another tokenizer make these tokens?"
            )

    @functools.cached_property
    def _vocabulary(self) -> _vocabulary.Vocabulary:
        return _vocabulary.Vocabulary(
            self.definition, self.special.all(), self.chat_template or ""
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __getstate__(self) -> dict[str, Any]:
        names = [field.name for field in dataclasses.fields(self)]
        return {name: self.__dict__[name] for name in names}


def _checked_texts(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise _errors.TokenizerError(
            "`encode_batch` takes a list of texts: got one text. Use `encode`."
        )
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise _errors.TokenizerError(
                f"Text {index} is a `{type(text).__name__}`: {text!r}."
            )
    return [str(text) for text in texts]
