"""Whole answers, joined of their pieces."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from kauldron.serve.engine._jobs import Job
from kauldron.serve.requests import (
    FinishReason,
    Piece,
    ServiceError,
    TokenLogprob,
    Usage,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """One of the answers to a request, from its beginning to its end.

    Attributes:
      text: Without the stop text.
      tokens: All that were made, the one that ended it included.
      logprobs: Of each of `tokens`, if they were asked for.
      finish_reason: Why it ended.
      stop: The stop text, or the stop token, that ended it.
      usage: What it has cost.
      prompt_logprobs: Of the prompt, of the first answer, if they were asked for.
    """

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: FinishReason
    stop: str | int | None
    usage: Usage
    prompt_logprobs: tuple[TokenLogprob, ...] = ()


def failed(job: Job) -> ServiceError:
    """Returns the error of a request of which an answer failed."""
    error = ServiceError(f"An answer failed: {job.error}")
    error.__cause__ = job.error
    return error


def join(job: Job, pieces: Iterable[Piece]) -> list[Answer]:
    """Returns the answers to a request, in order.

    Raises:
      ServiceError: If one failed.
    """
    found: list[list[Piece]] = [[] for _ in job.writers]
    for piece in pieces:
        if piece.finish_reason == "error":
            raise failed(job)
        found[piece.index].append(piece)
    return [_joined(some) for some in found]


def _joined(pieces: list[Piece]) -> Answer:
    last = pieces[-1]
    assert last.finish_reason is not None, "an answer has a last piece"
    return Answer(
        text="".join(piece.text for piece in pieces),
        tokens=tuple(t for piece in pieces for t in piece.tokens),
        logprobs=tuple(x for piece in pieces for x in piece.logprobs),
        finish_reason=last.finish_reason,
        stop=last.stop,
        usage=last.usage,
        prompt_logprobs=tuple(x for piece in pieces for x in piece.prompt_logprobs),
    )
