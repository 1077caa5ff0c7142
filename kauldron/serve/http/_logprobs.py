"""Log-probabilities in the shapes of OpenAI's chats and completions."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kauldron.serve import requests

if TYPE_CHECKING:
    from kauldron import lm

_REPLACEMENT = "\ufffd"


@functools.lru_cache(maxsize=1 << 14)
def token_text(tokenizer: lm.Tokenizer, token: int) -> str:
    """Returns the text of a token in the middle of an answer.

    Some decoders drop the space in front of the first word: another token stands before.
    """
    if token >= tokenizer.num_tokens:
        return f"<{token}>"  # rows that an embedding has beyond the vocabulary
    anchor = tokenizer.encode("a")[-1:].tolist()
    before = tokenizer.decode(anchor, skip_special=False)
    both = tokenizer.decode([*anchor, token], skip_special=False)
    return both.removeprefix(before)


def _chat_token(tokenizer: lm.Tokenizer, token: int, logprob: float) -> dict[str, Any]:
    text = token_text(tokenizer, token)
    # A token that is a part of a character: which bytes, the tokenizer does not say.
    as_bytes = None if _REPLACEMENT in text else list(text.encode())
    return {"token": text, "logprob": _finite(logprob), "bytes": as_bytes}


def _finite(logprob: float) -> float | None:
    """Returns what JSON can say: a token that cannot be drawn has -9999, as at OpenAI."""
    return None if math.isnan(logprob) else max(float(logprob), -9999.0)


def of_prompt(
    prompt: Sequence[int], told: Sequence[requests.TokenLogprob]
) -> list[requests.TokenLogprob]:
    """Returns the log-probabilities of a prompt; that of the first token is unknown.

    Args:
      prompt: Its tokens.
      told: What the engine says of the others.
    """
    unknown = math.nan
    first = requests.TokenLogprob(
        token=prompt[0], logprob=unknown, drawn_logprob=unknown
    )
    return [first, *told]


def of_chat(
    tokenizer: lm.Tokenizer, logprobs: Sequence[requests.TokenLogprob]
) -> dict[str, Any] | None:
    """Returns `logprobs` of a choice of a chat; `None` if there are none."""
    if not logprobs:
        return None
    content = [
        {
            **_chat_token(tokenizer, found.token, found.logprob),
            "top_logprobs": [_chat_token(tokenizer, *top) for top in found.top],
        }
        for found in logprobs
    ]
    return {"content": content, "refusal": None}


def of_completion(
    tokenizer: lm.Tokenizer, logprobs: Sequence[requests.TokenLogprob], offset: int
) -> dict[str, Any] | None:
    """Returns `logprobs` of a choice of a completion; `None` if there are none.

    Args:
      tokenizer: Of the model.
      logprobs: Of the tokens.
      offset: Letters of the choice before the first of them.
    """
    if not logprobs:
        return None
    texts = [token_text(tokenizer, found.token) for found in logprobs]
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    tops = [
        {token_text(tokenizer, t): _finite(value) for t, value in found.top} or None
        for found in logprobs
    ]
    return {
        "tokens": texts,
        "token_logprobs": [_finite(found.logprob) for found in logprobs],
        "top_logprobs": tops if any(tops) else None,
        "text_offset": offsets,
    }
