"""How fast an engine is: time to the first token, between tokens, tokens per second."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from kauldron._base import text_tables
from kauldron.serve.engine._engine import Engine
from kauldron.serve.requests import Request, SamplingParams

# Of the prompts of a row of the table, as shares of the longest: lengths are mixed.
_SHARES = (1.0, 0.25, 0.5, 0.75)
_PREFIX_LENGTH = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured with some streams at the same time.

    Attributes:
      streams: How many.
      requests: Answered, one after the other in each stream.
      first_token_secs: From a request to its first token, the median.
      first_token_secs_95: Of 95 in 100 requests it is less.
      between_tokens_secs: From a token to the next, the median of the answers' means.
      tokens_per_sec: Made in all streams together.
      host_share: Of the time of the device, how long it waited for the host.
    """

    streams: int
    requests: int
    first_token_secs: float
    first_token_secs_95: float
    between_tokens_secs: float
    tokens_per_sec: float
    host_share: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What was measured of an engine.

    Attributes:
      model: Its name.
      prompt_tokens: Of the longest prompt.
      max_tokens: Of an answer; no answer ends before.
      rows: For each number of streams.
      prefix_tokens: Of a long prompt that came twice.
      first_token_secs_cold: From that prompt to its first token, the first time.
      first_token_secs_seen: From another prompt that begins with it.
    """

    model: str
    prompt_tokens: int
    max_tokens: int
    rows: tuple[Row, ...]
    prefix_tokens: int
    first_token_secs_cold: float
    first_token_secs_seen: float

    def __str__(self) -> str:
        head = ["streams", "first token", "95 %", "between", "tokens/s", "host"]
        lines = [
            [
                str(row.streams),
                f"{1e3 * row.first_token_secs:.0f} ms",
                f"{1e3 * row.first_token_secs_95:.0f} ms",
                f"{1e3 * row.between_tokens_secs:.1f} ms",
                f"{row.tokens_per_sec:.1f}",
                f"{100 * row.host_share:.1f} %",
            ]
            for row in self.rows
        ]
        share = self.first_token_secs_seen / self.first_token_secs_cold
        return (
            f"{self.model}, prompts of up to {self.prompt_tokens} tokens, answers of "
            f"{self.max_tokens}:\n"
            f"{text_tables.aligned([head, *lines], right=range(6))}\n"
            f"First token of {self.prefix_tokens} tokens seen before: "
            f"{1e3 * self.first_token_secs_seen:.0f} ms, cold "
            f"{1e3 * self.first_token_secs_cold:.0f} ms ({share:.2f}x)."
        )


def measure_speed(
    engine: Engine,
    *,
    streams: Sequence[int] = (1, 4, 16),
    prompt_tokens: int = 64,
    max_tokens: int = 64,
    requests_per_stream: int = 2,
) -> Report:
    """Returns how fast an engine answers; nothing else should ask it meanwhile.

    Args:
      engine: The engine.
      streams: Numbers of requests at the same time.
      prompt_tokens: Of the longest prompt.
      max_tokens: Of each answer.
      requests_per_stream: One after the other, in each stream.
    """
    rng = np.random.default_rng(0)
    asyncio.run(_answer(engine, _request(engine, rng, prompt_tokens, 2)))
    rows = []
    for number in streams:
        asked = [
            [
                _request(engine, rng, prompt_tokens * _SHARES[i % 4], max_tokens)
                for i in range(start, start + requests_per_stream)
            ]
            for start in range(number)
        ]
        rows.append(asyncio.run(_measure(engine, asked)))
    length = min(_PREFIX_LENGTH, engine.context_length - 10)
    cold = _request(engine, rng, length + 8, 1)
    other = _request(engine, rng, 8, 1)
    seen = dataclasses.replace(cold, prompt=(*cold.prompt[:length], *other.prompt))
    cold_secs, seen_secs = (
        asyncio.run(_answer(engine, request))[0] for request in (cold, seen)
    )
    return Report(
        model=engine.model_name,
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        rows=tuple(rows),
        prefix_tokens=length,
        first_token_secs_cold=cold_secs,
        first_token_secs_seen=seen_secs,
    )


def _request(
    engine: Engine, rng: np.random.Generator, num_tokens: float, max_tokens: int
) -> Request:
    """Returns a request of random tokens, so that no prefix was seen."""
    size = max(int(num_tokens), 1)
    prompt = rng.integers(0, engine.tokenizer.num_tokens, size).tolist()
    sampling = SamplingParams(max_tokens=max_tokens, temperature=0.0, ignore_eos=True)
    return Request(prompt=tuple(prompt), sampling=sampling)


async def _measure(engine: Engine, asked: Sequence[Sequence[Request]]) -> Row:
    times: list[tuple[float, float]] = []

    async def stream(requests: Sequence[Request]) -> None:
        for request in requests:
            times.append(await _answer(engine, request))

    before, begin = engine.stats(), time.perf_counter()
    await asyncio.gather(*map(stream, asked))
    secs, after = time.perf_counter() - begin, engine.stats()
    made, host, device = (
        after[name] - before[name]
        for name in ("completion_tokens", "host_secs", "device_secs")
    )
    first, between = np.array(times).T
    return Row(
        streams=len(asked),
        requests=len(times),
        first_token_secs=float(np.median(first)),
        first_token_secs_95=float(np.quantile(first, 0.95)),
        between_tokens_secs=float(np.median(between)),
        tokens_per_sec=made / secs,
        host_share=host / device,
    )


async def _answer(engine: Engine, request: Request) -> tuple[float, float]:
    """Returns the seconds to the first token, and from each to the next."""
    begin, first, num_tokens = time.perf_counter(), None, 0
    async with contextlib.aclosing(engine.astream(request)) as pieces:
        async for piece in pieces:
            num_tokens += len(piece.tokens)
            if first is None:
                first = time.perf_counter()
    assert first is not None, "an answer has a piece"
    between = (time.perf_counter() - first) / max(num_tokens - 1, 1)
    return first - begin, between
