"""Decoding token by token: the pieces, joined, are the whole text."""

from __future__ import annotations

from collections.abc import Callable, Container

_REPLACEMENT = "\ufffd"


class StreamDecoder:
    """Text of tokens that come one by one; what is not certain yet is held back.

    A token may be part of a character, and may mean something else at the beginning of a
    text than in its middle. So the last tokens are decoded together: the *window*. It
    begins with a token that has text of its own, so that what decoders do at the
    beginning of a text happens to that token, which is written already.

    Args:
      decode: Tokens to text.
      silent: Tokens that make nothing certain: single bytes, as decoders look at a run of
        them as a whole, and tokens that are left out.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], silent: Container[int]
    ) -> None:
        self._decode = decode
        self._silent = silent
        self._window: list[int] = []
        self._written = ""  # of the window

    def push(self, token: int) -> str:
        """Returns the text that has become certain with one more token; often a word."""
        self._window.append(int(token))
        if int(token) in self._silent:
            return ""
        text = self._decode(self._window)
        if text.endswith(_REPLACEMENT):
            return ""
        piece = text[len(self._written) :]
        self._written = text
        alone = self._decode([token])
        if alone.strip() and not alone.startswith(_REPLACEMENT):
            self._window, self._written = [token], alone
        return piece

    def finish(self) -> str:
        """Returns the rest; the decoder is as new then."""
        rest = self._decode(self._window)[len(self._written) :]
        self._window, self._written = [], ""
        return rest
