"""One answer on its way: from tokens to pieces of text, up to where it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Future

from kauldron import lm
from kauldron.serve.engine._drafts import Lookup
from kauldron.serve.engine._grammars import Grammar
from kauldron.serve.engine._stop_texts import StopTexts
from kauldron.serve.requests import FinishReason, Piece, Request, TokenLogprob, Usage
from kauldron.serve.scheduling import _sequences


class AnswerWriter:
    """Writes one of the answers to a request.

    Attributes:
      request: What is asked.
      index: Which of the answers.
      sequence: Its tokens.
      seed: Of its draws.
      stop_ids: Tokens that end it.
      lookup: For drafts of what comes next.
      allowed: Which tokens may follow, `u32[words]`; `None` is all.
      is_over: Whether its last piece was written.
      prompt_logprobs: Of the prompt, to be told with the next piece.

    Args:
      grammar: What may follow, if the request says so.
      tokenizer: Of the model.
    """

    def __init__(
        self,
        request: Request,
        index: int,
        sequence: _sequences.Sequence,
        *,
        seed: int,
        stop_ids: tuple[int, ...],
        grammar: Grammar | None,
        tokenizer: lm.Tokenizer,
    ) -> None:
        self.request, self.index, self.sequence = request, index, sequence
        self.seed, self.stop_ids = seed, stop_ids
        self.lookup = Lookup(sequence.tokens)
        self.allowed = None if grammar is None else grammar.allowed()
        self.is_over = False
        self._grammar = grammar
        self.prompt_logprobs: Future[tuple[TokenLogprob, ...]] | None = None
        self._stops = frozenset(stop_ids)
        self._decoder = tokenizer.stream_decoder()
        self._num_known = tokenizer.num_tokens
        self._stop_texts = StopTexts(request.sampling.stop)
        self._num_made = 0

    def take(
        self, tokens: Sequence[int], logprobs: Sequence[TokenLogprob] = ()
    ) -> Piece:
        """Returns the piece of the next tokens; those behind the end are left out.

        Args:
          tokens: Made since the last time.
          logprobs: Of these, if the request asks for them.
        """
        text, num_taken = "", 0
        reason: FinishReason | None = None
        stop: str | int | None = None
        for token in tokens:
            num_taken += 1
            is_complete = self._grammar is not None and self._grammar.push(token)
            if token in self._stops:
                reason, stop = "stop", token
                break
            # Models may have more tokens than the tokenizer; they have no text.
            piece = self._decoder.push(token) if token < self._num_known else ""
            piece, stop = self._stop_texts.push(piece)
            text += piece
            if stop is not None or is_complete:
                reason = "stop"
                break
        self._num_made += num_taken
        most = self.sequence.max_length - self.sequence.num_prompt
        if reason is None and self._num_made >= most:
            reason = "length"
        if reason is None and self._grammar is not None:
            self.allowed = self._grammar.allowed()
        if reason is not None and not isinstance(stop, str):
            rest, stop_in_rest = self._rest()
            text += rest
            if stop_in_rest is not None:
                reason, stop = "stop", stop_in_rest
        return self._piece(
            text, tuple(tokens[:num_taken]), tuple(logprobs[:num_taken]), reason, stop
        )

    def end(self, reason: FinishReason) -> Piece:
        """Returns the last piece, of an answer that ends where it is."""
        text, _ = self._rest()
        return self._piece(text, (), (), reason, None)

    def abandon(self, reason: FinishReason) -> Piece:
        """Returns the last piece of an answer that can't be written any more."""
        self.prompt_logprobs = None
        return self._piece("", (), (), reason, None)

    def _rest(self) -> tuple[str, str | None]:
        text, stop = self._stop_texts.push(self._decoder.finish())
        return (
            (text, stop)
            if stop is not None
            else (
                text + self._stop_texts.finish(),
                None,
            )
        )

    def _piece(
        self,
        text: str,
        tokens: tuple[int, ...],
        logprobs: tuple[TokenLogprob, ...],
        reason: FinishReason | None,
        stop: str | int | None,
    ) -> Piece:
        self.is_over = reason is not None
        usage = Usage(
            prompt_tokens=self.sequence.num_prompt,
            cached_tokens=self.sequence.num_cached or 0,
            completion_tokens=self._num_made,
        )
        piece = Piece(
            index=self.index,
            text=text,
            tokens=tokens,
            logprobs=logprobs,
            finish_reason=reason,
            stop=stop,
            usage=usage,
        )
        if self.prompt_logprobs is None:
            return piece
        # Was computed before: the calls of the thread come before its visits.
        told, self.prompt_logprobs = self.prompt_logprobs.result(0), None
        return dataclasses.replace(piece, prompt_logprobs=told)
