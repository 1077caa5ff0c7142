"""The objects of the `tokenizers` package behind one `Tokenizer`."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from kauldron.lm.text import _errors, _packages, _words

# `<|im_end|>`, also with the wide bars of some families: controls a model, even where a
# file declares it as an ordinary token.
_CONTROL = re.compile("<[|\uff5c].*[|\uff5c]>")
# `<tool_call>`, `[INST]`: control a model if its chat template writes them. Otherwise
# `<table>` may just be a frequent word.
_MAYBE_CONTROL = re.compile(r"<[^\s<>]+>|\[/?[A-Z_]+\]")


class Vocabulary:
    """Encoders and decoders made of one definition, each when it is first needed.

    Args:
      definition: The content of a `tokenizer.json`.
      special: Tokens that are special, whatever the definition says.
      chat_template: Tells which other tokens control the model.
    """

    def __init__(
        self, definition: str, special: Sequence[str], chat_template: str
    ) -> None:
        self._given = definition
        self._special = special
        self._chat_template = chat_template

    @functools.cached_property
    def plain(self) -> Any:
        """The `tokenizers.Tokenizer` as defined, that neither cuts nor pads.

        Raises:
          TokenizerError: If the definition is none.
        """
        tokenizers = _packages.load("tokenizers", "`kd.lm.Tokenizer`")
        try:
            plain = tokenizers.Tokenizer.from_str(self._given)
        except Exception as error:  # the package raises nothing more precise
            raise _errors.TokenizerError(
                f"This is no definition of a tokenizer: {error}. A `tokenizer.json` is "
                "written by `Tokenizer.save` and by the `tokenizers` package."
            ) from None
        plain.no_truncation()
        plain.no_padding()
        return plain

    def definition(self) -> str:
        """Returns the definition in the words of the installed package."""
        return self.plain.to_str()

    def find(self, token: str) -> int | None:
        """Returns the id of a token, if there is one."""
        return self.plain.token_to_id(token)

    def encoder(self, *, allow_special: bool) -> Any:
        """Returns what encodes texts of templates, or those of people."""
        return self._for_templates if allow_special else self._for_people

    def encode(self, texts: Sequence[str], *, allow_special: bool) -> list[np.ndarray]:
        """Returns the tokens of each text, `i32[n]`."""
        by_words = None if allow_special else self._by_words
        if by_words is not None:
            return by_words.encode(texts)
        return _words.encode(self.encoder(allow_special=allow_special), texts)

    @functools.cached_property
    def num_tokens(self) -> int:
        """One more than the largest id."""
        return max(self.plain.get_vocab(with_added_tokens=True).values()) + 1

    @functools.cached_property
    def special_ids(self) -> dict[str, int]:
        """Token -> id, of all tokens that control a model."""
        added = json.loads(self._marked)["added_tokens"]
        return {token["content"]: token["id"] for token in added if token["special"]}

    @functools.cached_property
    def skipped_ids(self) -> frozenset[int]:
        """What is no text of an answer: special by definition or by role."""
        added = self.plain.get_added_tokens_decoder()
        declared = {index for index, token in added.items() if token.special}
        with_role = {
            self.special_ids[t] for t in self._special if t in self.special_ids
        }
        return frozenset(declared | with_role)

    @functools.cached_property
    def byte_ids(self) -> frozenset[int]:
        """Tokens that are one byte of a character, if the decoder joins such."""
        if "ByteFallback" not in str(json.loads(self.definition()).get("decoder")):
            return frozenset()
        found = (self.find(f"<0x{byte:02X}>") for byte in range(256))
        return frozenset(index for index in found if index is not None)

    @functools.cached_property
    def _marked(self) -> str:
        """The definition in which everything that controls a model is special."""
        definition = json.loads(self.definition())
        for token in definition["added_tokens"]:
            if token["content"] in self._special or self._controls(token["content"]):
                token["special"] = True
        return json.dumps(definition)

    def _controls(self, token: str) -> bool:
        if _CONTROL.fullmatch(token):
            return True
        is_written = token in self._chat_template
        return is_written and _MAYBE_CONTROL.fullmatch(token) is not None

    @functools.cached_property
    def _for_people(self) -> Any:
        encoder = type(self.plain).from_str(self._marked)
        encoder.encode_special_tokens = True  # is in no file, and lost by pickle
        return encoder

    @functools.cached_property
    def _by_words(self) -> _words.WordEncoder | None:
        return _words.word_encoder(self._for_people)

    @functools.cached_property
    def _for_templates(self) -> Any:
        return type(self.plain).from_str(self._marked)
