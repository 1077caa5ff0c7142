"""`Engine`: a model that answers many requests at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

from kauldron import lm
from kauldron.ktyping import PyTree
from kauldron.serve.device._programs import Programs
from kauldron.serve.engine import _answers, _building, _jobs, _prompts, _sizes
from kauldron.serve.engine._core import Core, Options
from kauldron.serve.requests import Piece, Request


class Engine:
    """Answers requests with a model, many at the same time, in a thread of its own.

    Rows of all requests share the calls of the device, and prompts that begin alike share
    what was computed of them. What an answer is depends on nothing of the others.

    Args:
      model: What `kd.lm.text_generator` takes, or returns; or model, parameters and
        tokenizer.
      num_slots: Answers that are written at the same time; others wait.
      context_length: The most tokens of prompt and answer; by default those of the model.
      num_pages: Pages of `page_size` tokens for keys and values; by default as many as
        the slots need, or the free memory has room for.
      page_size: Tokens of a page.
      cache_gb: Memory of the pages in 10**9 bytes, in place of `num_pages`.
      cache_dtype: Of keys and values; by default f32, or bf16 with a `weights_dtype`.
      decode_widths: Of programs for fewer than `num_slots` answers; each is compiled.
      chunk_sizes: Of prompts, how many tokens of a row a program reads.
      token_budget: The most tokens of prompts between two tokens of an answer.
      steps_per_visit: The most tokens of an answer that are made at once. More are faster
        and come in larger pieces.
      max_waiting: The most answers that wait; a request more is refused.
      has_prefixes: Whether what was computed is kept for prompts that begin alike.
      num_drafts: Of an answer, how many tokens are drafted from what it has already, and
        verified at once; 0 is none. Answers that repeat their prompt are faster then.
      adapters: Name to a LoRA of the model and its parameters; a request names one.
      model_name: Under which it is served; by default the name or folder of `model`.
      trusted: Packages whose names the config of a workdir may use, see `kd.lm.load`.
      weights_dtype: `"bfloat16"` keeps and multiplies all weights in 16 bits, `"int8"` the
        matrices of layers in eight, with a scale for each output; on a CPU, what is
        multiplied by these is rounded to as many bits, and all else is computed in f32.
        `None` keeps all as they are.
      attention: `"kernel"` reads keys and values where they are, by JAX's kernels for GPU
        and TPU; not with drafts.
      precision: `kd.train.Precision` in which the model computes, as in a training.
      warm_up: Whether all programs are compiled before the first request.

    Raises:
      EngineError: If the memory is too small, or sizes do not fit.
      ModelError: If there is no such model.

    Example:

    ```python
    with kd.serve.Engine("smollm2") as engine:
        texts = engine.generate(["One, two,", "Red, green,"], max_tokens=8, temperature=0)
    ```
    """

    def __init__(
        self,
        model: _building.Model,
        *,
        num_slots: int = 16,
        context_length: int | None = None,
        num_pages: int | None = None,
        page_size: int = 16,
        cache_gb: float | None = None,
        cache_dtype: Any = None,
        decode_widths: Sequence[int] = (1, 4),
        chunk_sizes: Sequence[int] = (16, 64),
        token_budget: int = 512,
        steps_per_visit: int = 4,
        max_waiting: int = 256,
        has_prefixes: bool = True,
        num_drafts: int = 0,
        adapters: Mapping[str, tuple[lm.LoRA, PyTree]] | None = None,
        model_name: str | None = None,
        trusted: Iterable[str] = (),
        weights_dtype: Literal["bfloat16", "int8"] | None = None,
        attention: Literal["gather", "kernel"] = "gather",
        precision: Any = None,
        warm_up: bool = True,
    ) -> None:
        sizes = _building.EngineSizes(
            num_slots=num_slots,
            context_length=context_length,
            num_pages=num_pages,
            page_size=page_size,
            cache_gb=cache_gb,
            cache_dtype=cache_dtype,
            decode_widths=decode_widths,
            chunk_sizes=chunk_sizes,
            token_budget=token_budget,
            steps_per_visit=steps_per_visit,
            max_waiting=max_waiting,
            has_prefixes=has_prefixes,
            num_drafts=num_drafts,
            weights_dtype=weights_dtype,
            attention=attention,
        )
        generator = _building.generator_of(model, trusted)
        core = _building.core_of(
            generator,
            sizes,
            adapters or {},
            owns_params=isinstance(model, str | os.PathLike),
            precision=precision,
        )
        if warm_up:
            kinds = ("prefill", "decode", "score", "embed")
            core.programs.warm_up(kinds + ("verify",) * bool(num_drafts))
        _sizes.give_back_unused()
        self._begin(core, model_name or _building.name_of(model))

    @classmethod
    def from_programs(
        cls,
        programs: Programs,
        tokenizer: lm.Tokenizer,
        options: Options,
        *,
        model_name: str = "model",
    ) -> Self:
        """Returns an engine of programs that are there already, and no other uses.

        Args:
          programs: Of the model.
          tokenizer: Of the model.
          options: What the engine keeps to.
          model_name: Under which it is served.
        """
        engine = cls.__new__(cls)
        engine._begin(Core(programs, tokenizer, options), model_name)
        return engine

    def _begin(self, core: Core, model_name: str) -> None:
        self.model_name, self.tokenizer = model_name, core.tokenizer
        self.adapters = core.limits.adapters
        self.context_length = core.limits.context_length
        self._core = core
        core.thread.start()

    @property
    def failure(self) -> BaseException | None:
        """What ended the engine; `None` while it serves."""
        return self._core.thread.failure

    @functools.cached_property
    def chat_template(self) -> lm.ChatTemplate | None:
        """Of the model; `None` if it has none."""
        if self.tokenizer.chat_template is None:
            return None
        return lm.ChatTemplate.of(self.tokenizer)

    def answer(self, asked: Sequence[Request]) -> list[list[_answers.Answer]]:
        """Returns all answers to each request, in order.

        More requests than may wait are taken as there is room.

        Raises:
          RequestError: If a request is wrong; then none is begun.
          ServiceError: If the engine has ended, or ends before the answers do.
        """
        found = [_jobs.Pieces(request.sampling.n) for request in asked]
        jobs = [
            self._core.job(request, pieces.deliver)
            for request, pieces in zip(asked, found, strict=True)
        ]
        thread = self._core.thread
        try:
            # Together: an idle engine always answers the same requests in the same
            # visits, so that nothing differs in the last bit.
            with thread.lock:
                for job in jobs:
                    thread.submit(job, waits=True)
            return [_answers.join(*some) for some in zip(jobs, found, strict=True)]
        except BaseException:
            for job in jobs:
                thread.cancel(job)
            raise

    def generate(self, prompts: str | Sequence[str], **sampling: Any) -> Any:
        """Returns how the model goes on with a text, or with each of several.

        Args:
          prompts: One text, or several.
          **sampling: Fields of `SamplingParams`.

        Returns:
          `str` for a text, `list[str]` for several; if `n` is given, `list[str]` stands
          where `str` would.
        """
        texts = [prompts] if isinstance(prompts, str) else prompts
        found = self.answer([self._request(text, sampling) for text in texts])
        made = [_texts(answers, sampling) for answers in found]
        return made[0] if isinstance(prompts, str) else made

    async def agenerate(self, prompts: str | Sequence[str], **sampling: Any) -> Any:
        """As `generate`, for a task; cancelling it cancels the requests.

        Raises:
          ServiceError: If more requests come than may wait.
        """
        texts = [prompts] if isinstance(prompts, str) else prompts

        async def one(text: str) -> Any:
            request = self._request(text, sampling)
            async with self._submitted(request) as (job, stream):
                pieces = [piece async for piece in stream]
            return _texts(_answers.join(job, pieces), sampling)

        made = await asyncio.gather(*map(one, texts))
        return made[0] if isinstance(prompts, str) else made

    def chat(
        self,
        messages: _prompts.Messages,
        *,
        tools: Sequence[Any] | None = None,
        **sampling: Any,
    ) -> str:
        """Returns the model's answer to a conversation.

        Args:
          messages: Each with `role` and `content`.
          tools: JSON schemas of functions that the model may call.
          **sampling: Fields of `SamplingParams`.

        Raises:
          ChatTemplateError: If the model has no chat template, or it refuses.
        """
        tokens = _prompts.of_messages(
            self.tokenizer, self.chat_template, messages, tools
        )
        ((answer,),) = self.answer([_prompts.request(tokens, sampling)])
        return answer.text

    def stream(self, prompt: str | _prompts.Messages, **sampling: Any) -> Iterator[str]:
        """Yields the text that the model writes after a prompt, in pieces.

        Closing the iterator cancels the request.

        Args:
          prompt: A text, or a conversation.
          **sampling: Fields of `SamplingParams`; there is one answer.
        """
        request = self._request(prompt, sampling)
        pieces = _jobs.Pieces(request.sampling.n)
        job = self._core.submit(request, pieces.deliver, waits=True)
        try:
            for piece in pieces:
                if piece.finish_reason == "error":
                    raise _answers.failed(job)
                if piece.text:
                    yield piece.text
        finally:
            self._core.thread.cancel(job)

    async def astream(self, request: Request) -> AsyncGenerator[Piece, None]:
        """Yields the pieces of all answers as they are made; see `requests.Engine`."""
        async with self._submitted(request) as (_, pieces):
            async for piece in pieces:
                yield piece

    def score(self, texts: str | Sequence[str]) -> Any:
        """Returns how likely a text, or each of several, is: `kd.lm.TextScore`."""
        some = [texts] if isinstance(texts, str) else texts
        prompts = [self._tokens(text) for text in some]
        futures = [self._core.score(tokens) for tokens in prompts]
        found = [
            _prompts.text_score(self.tokenizer, text, tokens, future.result())
            for text, tokens, future in zip(some, prompts, futures, strict=True)
        ]
        return found[0] if isinstance(texts, str) else found

    def embed(self, texts: str | Sequence[str]) -> np.ndarray:
        """Returns the embedding of a text, `f32[d]`, or of several, `f32[b d]`.

        It is the mean of the last hidden states of its tokens, of norm 1.
        """
        some = [texts] if isinstance(texts, str) else texts
        futures = [self._core.embed(self._tokens(text)) for text in some]
        found = np.stack([future.result() for future in futures])
        return found[0] if isinstance(texts, str) else found

    async def aembed(
        self, prompts: list[tuple[int, ...]], *, timeout: float | None = None
    ) -> list[np.ndarray]:
        """Returns the embedding of each prompt; see `requests.Engine`.

        Raises:
          RequestError: If a prompt is wrong.
          ServiceError: If the engine has ended.
          TimeoutError: If it takes longer.
        """
        futures = [asyncio.wrap_future(self._core.embed(p)) for p in prompts]
        async with asyncio.timeout(timeout):
            return list(await asyncio.gather(*futures))

    def set_params(self, params: PyTree) -> None:
        """Answers by other parameters from now on, of the same shapes and dtypes.

        They are not copied. What was computed by those before is forgotten; answers on
        their way go on by the new ones.

        Args:
          params: Of the model; `None` lets those before go, until others come. Nothing
            can be asked meanwhile.
        """
        self._core.set_params(params)

    def stats(self) -> Mapping[str, float]:
        """Returns counts and gauges of the engine by name."""
        return self._core.stats()

    def shutdown(self, *, drain: bool = True, timeout: float | None = None) -> bool:
        """Ends the engine; returns whether its thread has ended.

        Args:
          drain: Whether the requests that were taken are answered before.
          timeout: Seconds after which they are cancelled.
        """
        return self._core.thread.stop(drain=drain, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        self.shutdown(drain=kind is None)

    def _tokens(self, prompt: str | _prompts.Messages) -> tuple[int, ...]:
        if isinstance(prompt, str):
            return _prompts.of_text(self.tokenizer, prompt)
        return _prompts.of_messages(self.tokenizer, self.chat_template, prompt)

    def _request(
        self, prompt: str | _prompts.Messages, sampling: Mapping[str, Any]
    ) -> Request:
        return _prompts.request(self._tokens(prompt), sampling)

    @contextlib.asynccontextmanager
    async def _submitted(
        self, request: Request
    ) -> AsyncGenerator[tuple[_jobs.Job, _jobs.AsyncPieces], None]:
        """Submits a request, which is cancelled at the end of the block."""
        pieces = _jobs.AsyncPieces(request.sampling.n)
        # In a thread: a grammar may take a while to compile.
        submit = asyncio.to_thread(self._core.submit, request, pieces.deliver)
        submitting = asyncio.ensure_future(submit)
        try:
            job = await asyncio.shield(submitting)
        except asyncio.CancelledError:
            submitting.add_done_callback(self._cancel_late)
            raise
        try:
            yield job, pieces
        finally:
            self._core.thread.cancel(job)

    def _cancel_late(self, submitting: asyncio.Future[_jobs.Job]) -> None:
        if not submitting.cancelled() and submitting.exception() is None:
            self._core.thread.cancel(submitting.result())


def _texts(answers: Sequence[_answers.Answer], sampling: Mapping[str, Any]) -> Any:
    texts = [answer.text for answer in answers]
    return texts if "n" in sampling else texts[0]
