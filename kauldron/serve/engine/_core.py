"""What an engine is made of, and how a request becomes a job of its thread."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from kauldron import lm
from kauldron.ktyping import PyTree
from kauldron.serve.engine import _checks
from kauldron.serve.engine._grammars import Grammars
from kauldron.serve.engine._jobs import Job
from kauldron.serve.engine._reading import Reader
from kauldron.serve.engine._thread import EngineThread
from kauldron.serve.engine._visits import Visits
from kauldron.serve.engine._writer import AnswerWriter
from kauldron.serve.requests import Piece, Request, RequestError, TokenLogprob
from kauldron.serve.scheduling import _sequences
from kauldron.serve.scheduling._schedule import Scheduler
from kauldron.serve.scheduling._sizes import Sizes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a core keeps to.

    Attributes:
      context_length: The most tokens of a row.
      stop_ids: Tokens that end an answer.
      steps_per_visit: The most tokens of an answer that are made in a visit.
      token_budget: The most tokens of prompts that are read in a visit.
      max_waiting: The most answers that wait.
      has_prefixes: Whether prefixes are kept for other requests.
      num_drafts: The most tokens of an answer that are drafted in a visit.
    """

    context_length: int
    stop_ids: tuple[int, ...]
    steps_per_visit: int = 4
    token_budget: int = 512
    max_waiting: int = 256
    has_prefixes: bool = True
    num_drafts: int = 0


class Core:
    """Programs, schedule and thread of an engine.

    Attributes:
      programs: Of the device.
      thread: Owns them.
      tokenizer: Of the model.
      options: What it keeps to.
      limits: Of requests.
    """

    def __init__(
        self, programs: Any, tokenizer: lm.Tokenizer, options: Options
    ) -> None:
        self.programs, self.tokenizer, self.options = programs, tokenizer, options
        sizes = Sizes(
            num_pages=programs.num_pages,
            page_size=programs.page_size,
            num_slots=programs.num_slots,
            shapes=tuple(_sequences.Shape(*shape) for shape in programs.prefill_shapes),
            widths=programs.decode_widths,
            max_steps=min(
                max(options.steps_per_visit, options.num_drafts + 1), programs.max_steps
            ),
            token_budget=options.token_budget,
            max_waiting=options.max_waiting,
            has_prefixes=options.has_prefixes,
        )
        vocab_size = programs.model.vocab_size
        self.limits = _checks.Limits(
            vocab_size=vocab_size,
            context_length=min(
                options.context_length, sizes.num_pages * sizes.page_size
            ),
            max_answers=options.max_waiting,
            max_top_logprobs=programs.max_top_logprobs,
            max_bias=programs.max_bias,
            max_stop_ids=programs.max_stop_ids,
            adapters=tuple(programs.adapters),
        )
        self._grammars = Grammars(tokenizer, vocab_size, options.stop_ids)
        visits = Visits(
            programs,
            sizes.width_for,
            max_steps=min(options.steps_per_visit, programs.max_steps),
            num_drafts=min(options.num_drafts, programs.max_steps - 1),
        )
        self._reader = Reader(programs)
        self.thread = EngineThread(Scheduler(sizes), visits)

    def submit(
        self,
        request: Request,
        deliver: Callable[[Piece], None],
        *,
        waits: bool = False,
    ) -> Job:
        """Takes a request; its pieces are delivered from the engine's thread.

        Raises:
          RequestError: If the request is wrong.
          ServiceError: If the queue is full, or the engine has ended.
        """
        job = self.job(request, deliver)
        self.thread.submit(job, waits=waits)
        return job

    def job(self, request: Request, deliver: Callable[[Piece], None]) -> Job:
        """Returns what the engine's thread takes, of a request that is right."""
        job = Job(request, self._writers(request), deliver)
        if request.prompt_logprobs and len(request.prompt) > 1:
            job.writers[0].prompt_logprobs = self.score(
                request.prompt, request.adapter, request.sampling.logprobs or 0
            )
        return job

    def set_params(self, params: PyTree) -> None:
        """Changes the parameters between two visits, and waits until that is done."""

        def change(_: Sequence[int]) -> None:
            self.programs.set_params(params)
            with self.thread.lock:
                self.thread.scheduler.forget_prefixes()

        self.thread.call(change, num_pages=0).result()

    def _writers(self, request: Request) -> list[AnswerWriter]:
        sampling = request.sampling
        model_ids = () if sampling.ignore_eos else self.options.stop_ids
        stop_ids = tuple(dict.fromkeys([*model_ids, *sampling.stop_token_ids]))
        _checks.check(request, self.limits, stop_ids)
        room = self.limits.context_length - len(request.prompt)
        deadline = None
        if request.timeout is not None:
            deadline = time.monotonic() + request.timeout
        seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        writers: list[AnswerWriter] = []
        for index in range(sampling.n):
            sequence = _sequences.Sequence(
                tokens=list(request.prompt),
                max_length=len(request.prompt) + (sampling.max_tokens or room),
                priority=request.priority,
                deadline=deadline,
                group=request.adapter,
                leader=writers[0].sequence if writers else None,
                is_stepwise=(sampling.json_schema or sampling.regex) is not None,
            )
            writer = AnswerWriter(
                request,
                index,
                sequence,
                seed=(seed + index) % 2**32,
                stop_ids=stop_ids,
                grammar=self._grammars.of(sampling),
                tokenizer=self.tokenizer,
            )
            writers.append(writer)
        return writers

    def score(
        self, tokens: Sequence[int], adapter: str | None = None, num_top: int = 0
    ) -> Future[tuple[TokenLogprob, ...]]:
        """Returns the log-probability of each token of a prompt but the first.

        Raises:
          RequestError: If the prompt is wrong.
          ServiceError: If the engine has ended.
        """
        _checks.check_prompt(tokens, self.limits)
        if len(tokens) < 2:
            raise RequestError("A prompt of one token has nothing to tell.")
        index = 0 if adapter is None else self.programs.adapters[adapter]

        def read(pages: Sequence[int]) -> tuple[TokenLogprob, ...]:
            return self._reader.logprobs(tokens, pages, index, num_top)

        return self.thread.call(read, self._reader.num_pages(tokens))

    def embed(self, tokens: Sequence[int]) -> Future[np.ndarray]:
        """Returns the mean of the last hidden states, of norm 1, `f32[d]`.

        Raises:
          RequestError: If the prompt is wrong.
          ServiceError: If the engine has ended.
        """
        _checks.check_prompt(tokens, self.limits)

        def read(pages: Sequence[int]) -> np.ndarray:
            return self._reader.embedding(tokens, pages)

        return self.thread.call(read, self._reader.num_pages(tokens))

    def stats(self) -> dict[str, float]:
        """Returns counts and gauges by name."""
        thread = self.thread
        with thread.lock:
            scheduler, holdings = thread.scheduler, thread.scheduler.holdings
            return {
                "running": len(scheduler.running),
                "waiting": len(scheduler.waiting),
                "slots": scheduler.sizes.num_slots,
                "pages": scheduler.sizes.num_pages,
                "pages_free": holdings.num_available,
                "pages_cached": holdings.tree.num_pages,
                "pages_forgotten": holdings.num_forgotten,
                "cache_bytes": self.programs.num_cache_bytes,
                **dataclasses.asdict(scheduler.counts),
                **dataclasses.asdict(thread.times),
            }
