"""JSON schemas and regular expressions as masks of the tokens that may follow."""

from __future__ import annotations

import collections
import json
import threading
from typing import Any

import numpy as np

from kauldron import lm
from kauldron.serve import _packages
from kauldron.serve.requests import RequestError, SamplingParams

# Grammars that are kept compiled, the last ones used.
_NUM_KEPT = 64


class Grammar:
    """What may follow in one answer.

    Args:
      matcher: Of llguidance, at the beginning of the answer.
      num_tokens: Of the model.
    """

    def __init__(self, matcher: Any, num_tokens: int) -> None:
        self._matcher = matcher
        self._mask = np.zeros(-(-num_tokens // 32), np.uint32)

    def allowed(self) -> np.ndarray:
        """Returns which tokens may follow, `u32[words]`; overwritten by the next call.

        Raises:
          GrammarError: If the grammar is at an end that it can't tell.
        """
        mask = self._mask
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        self._check()
        return mask

    def push(self, token: int) -> bool:
        """Takes the next token; returns whether nothing may follow any more."""
        self._matcher.consume_token(token)
        self._check()
        return self._matcher.is_stopped()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarError(f"The grammar fails: {self._matcher.get_error()}")


class GrammarError(RuntimeError):
    """A grammar that cannot go on."""


class Grammars:
    """The grammars of requests, compiled once each.

    Args:
      tokenizer: Of the model.
      vocab_size: Of the model; may be more than the tokenizer has.
      stop_ids: Tokens that end an answer once the grammar allows an end.
    """

    def __init__(
        self, tokenizer: lm.Tokenizer, vocab_size: int, stop_ids: tuple[int, ...]
    ) -> None:
        self._tokenizer, self._vocab_size = tokenizer, vocab_size
        self._stop_ids = stop_ids
        self._compiled: collections.OrderedDict[str, Any] = collections.OrderedDict()
        self._of_llguidance: Any = None
        self._lock = threading.Lock()

    def of(self, sampling: SamplingParams) -> Grammar | None:
        """Returns the grammar that a request asks for, at its beginning.

        Raises:
          RequestError: If it can't be kept to.
          MissingPackageError: If llguidance is not installed.
        """
        if sampling.json_schema is None and sampling.regex is None:
            return None
        param = "regex" if sampling.json_schema is None else "json_schema"
        with self._lock:
            matcher = self._matcher(sampling, param)
        error = matcher.get_error()
        if error:
            raise RequestError(
                f"`{param}` can't be kept to: {error.strip()}", param=param
            )
        return Grammar(matcher.deep_copy(), self._vocab_size)

    def _matcher(self, sampling: SamplingParams, param: str) -> Any:
        llguidance = _llguidance()
        try:
            key = json.dumps([sampling.json_schema, sampling.regex])
        except (TypeError, ValueError) as error:
            raise RequestError(f"`{param}` is no JSON: {error}", param=param) from None
        if key not in self._compiled:
            if sampling.json_schema is not None:
                text = llguidance.LLMatcher.grammar_from_json_schema(
                    json.dumps(sampling.json_schema),
                    # Models write JSON compactly, or waste an answer on white space.
                    defaults={"whitespace_flexible": False},
                )
            else:
                text = llguidance.LLMatcher.grammar_from_regex(sampling.regex)
            self._compiled[key] = llguidance.LLMatcher(
                self._vocabulary(), text, log_level=0
            )
            while len(self._compiled) > _NUM_KEPT:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return self._compiled[key]

    def _vocabulary(self) -> Any:
        if self._of_llguidance is None:
            self._of_llguidance = _llguidance().LLTokenizer(
                self._tokenizer.definition,
                n_vocab=self._vocab_size,
                eos_token=list(self._stop_ids) or None,
            )
        return self._of_llguidance


def _llguidance() -> Any:
    return _packages.load(
        "llguidance", "An answer that keeps to a JSON schema or a regex"
    )
