"""From the fields of either vendor to a request of the engine, and from its pieces to parts."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kauldron._base import errors
from kauldron.serve import requests
from kauldron.serve.http import _errors, _metrics, _prompts, _tools
from kauldron.serve.http._errors import HttpError
from kauldron.serve.http._fields import REQUIRED, Fields

MAX_STOPS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Service:
    """What answers requests, and the limits of a server.

    Attributes:
      engine: Makes the tokens.
      timeout: Seconds after which an answer ends where it is; `None` is never.
      created: When the server began, in seconds since 1970.
      metrics: Its counts.
    """

    engine: requests.Engine
    timeout: float | None
    created: int
    metrics: _metrics.Metrics

    def adapter(self, body: Fields) -> str | None:
        """Returns the adapter that the field `model` names; `None` is the model itself.

        Raises:
          HttpError: If it names neither.
        """
        name = body.text("model", REQUIRED)
        return None if name == self.engine.model_name else self.known(name)

    def known(self, name: str) -> str:
        """Returns the name of the model, or of an adapter.

        Raises:
          HttpError: If it is neither.
        """
        names = self.names()
        if name not in names:
            hint = errors.did_you_mean(name[:100], names)
            raise HttpError(
                404,
                f"There is no model {name[:100]!r}.{hint} There is "
                f"{', '.join(map(repr, names))}.",
                param="model",
                code="model_not_found",
            )
        return name

    def names(self) -> tuple[str, ...]:
        """Returns the names of the model and of its adapters."""
        return (self.engine.model_name, *self.engine.adapters)

    def request(
        self,
        prompt: Sequence[int],
        sampling: Mapping[str, Any],
        *,
        adapter: str | None,
        priority: int = 0,
        param: str,
        prompt_logprobs: bool = False,
    ) -> requests.Request:
        """Returns a request, its length cut to what the context has room for.

        Args:
          prompt: Its tokens.
          sampling: Fields of `SamplingParams`.
          adapter: Name of one.
          priority: As the engine takes it.
          param: The field that the prompt comes from.
          prompt_logprobs: As the engine takes it.

        Raises:
          HttpError: If the prompt has no tokens, or leaves no room for an answer.
        """
        if not prompt:
            raise HttpError(400, f"`{param}` has no tokens.", param=param)
        room = self.engine.context_length - len(prompt)
        if room < 1:
            raise HttpError(
                400,
                f"The prompt is too long: it has {len(prompt)} tokens, and the context of "
                f"the model is {self.engine.context_length} tokens, the answer included.",
                param=param,
                code="context_length_exceeded",
            )
        most = sampling.get("max_tokens")
        params = requests.SamplingParams(
            **{**sampling, "max_tokens": room if most is None else min(most, room)}
        )
        return requests.Request(
            prompt=tuple(prompt),
            sampling=params,
            adapter=adapter,
            priority=priority,
            timeout=self.timeout,
            prompt_logprobs=prompt_logprobs,
        )


class Part(NamedTuple):
    """What a piece of an answer says.

    Attributes:
      index: Which of the answers.
      content: Texts and calls, in their order.
      logprobs: Of the tokens of the piece.
      finish_reason: Why the answer ends here: also `"tool_calls"`; `None` if it goes on.
      stop: The stop text that ended it.
      usage: Of this answer so far.
      prompt_logprobs: As the engine tells them.
    """

    index: int
    content: list[str | _tools.ToolCall]
    logprobs: Sequence[requests.TokenLogprob]
    finish_reason: str | None
    stop: str | None
    usage: requests.Usage
    prompt_logprobs: Sequence[requests.TokenLogprob] = ()


class ToolUse(NamedTuple):
    """How tools are used in an answer.

    Attributes:
      tools: Those that may be called.
      format: How calls are written.
      must_call: Whether the answer is a call and nothing else.
      only_one: Whether it has one call at most.
    """

    tools: Sequence[_tools.Tool] = ()
    format: _tools.Format = _tools.BARE
    must_call: bool = False
    only_one: bool = False


class ToolChoice(NamedTuple):
    """What a client says about calls.

    Attributes:
      kind: `"auto"`, `"none"`, or `"required"`.
      name: The tool that must be called; `None` is any.
      only_one: Whether there may be one call at most.
    """

    kind: str = "auto"
    name: str | None = None
    only_one: bool = False


def tool_use(
    engine: requests.Engine, tools: Sequence[_tools.Tool], choice: ToolChoice
) -> ToolUse:
    """Returns how tools are used.

    Args:
      engine: Whose template says how calls are written.
      tools: Those of the request.
      choice: What the client says.
    """
    if choice.kind == "none" or not tools:
        return ToolUse()
    if choice.kind == "required":
        may_be_called = [t for t in tools if choice.name in (None, t.name)]
        return ToolUse(may_be_called, _tools.BARE, True, True)
    return ToolUse(tools, _prompts.tool_format(engine), False, choice.only_one)


async def parts(
    service: Service,
    request: requests.Request,
    params: dict[str, str],
    use: ToolUse = ToolUse(),
) -> AsyncGenerator[Part, None]:
    """Yields the parts of the answers to a request.

    Args:
      service: Whose engine answers.
      request: What is asked.
      params: What the client calls the arguments of the engine.
      use: Of tools.

    Raises:
      HttpError: If the engine refuses the request, or fails on the way.
    """
    states = {i: _Answer(use) for i in range(request.sampling.n)}
    async with contextlib.aclosing(_pieces(service.engine, request, params)) as pieces:
        async for piece in pieces:
            state = states[piece.index]
            if state.is_over:
                continue
            content, reason = state.read(piece)
            stop = piece.stop if isinstance(piece.stop, str) else None
            yield Part(
                piece.index,
                content,
                piece.logprobs,
                reason,
                stop,
                piece.usage,
                piece.prompt_logprobs,
            )
            is_cut = piece.finish_reason is None and state.is_over
            if is_cut and all(state.is_over for state in states.values()):
                return


class _Answer:
    """One answer on its way: its calls are read out of its text."""

    def __init__(self, use: ToolUse) -> None:
        self.is_over = False
        self._use = use
        self._reader = _tools.Reader(use.format, use.tools) if use.tools else None
        self._num_calls = 0

    def read(
        self, piece: requests.Piece
    ) -> tuple[list[str | _tools.ToolCall], str | None]:
        """Returns the content of a piece, and why the answer ends with it if it does."""
        self.is_over = piece.finish_reason is not None
        if self._reader is None:
            return [piece.text] if piece.text else [], piece.finish_reason
        content: list[str | _tools.ToolCall] = []
        found = self._reader.push(piece.text)
        for item in [*found, *(self._reader.finish() if self.is_over else ())]:
            content.append(item)
            self._num_calls += isinstance(item, _tools.ToolCall)
            if self._use.only_one and self._num_calls:
                self.is_over = True
                return content, "tool_calls"
        is_call = self._num_calls and piece.finish_reason == "stop"
        return content, "tool_calls" if is_call else piece.finish_reason


async def _pieces(
    engine: requests.Engine, request: requests.Request, params: dict[str, str]
) -> AsyncGenerator[requests.Piece, None]:
    """Yields what the engine makes; what it raises becomes what a client is told."""
    pieces = engine.astream(request)
    try:
        async for piece in pieces:
            if piece.finish_reason == "error":
                raise HttpError(500, "The engine failed while it answered.")
            if piece.finish_reason == "cancelled":
                raise HttpError(503, "The server ended the answer: it shuts down.")
            yield piece
    except (requests.RequestError, requests.ServiceError) as error:
        raise _errors.of_engine(error, params) from error
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


async def merged(
    streams: Sequence[AsyncGenerator[Part, None]],
    index_of: Callable[[int, int], int],
) -> AsyncGenerator[Part, None]:
    """Yields the parts of several streams as they come.

    Args:
      streams: One for each prompt.
      index_of: Number of the prompt and index of its answer, to index of the choice.
    """
    if len(streams) == 1:
        async with contextlib.aclosing(streams[0]) as stream:
            async for part in stream:
                yield part
        return
    queue: asyncio.Queue[Part | BaseException | None] = asyncio.Queue(maxsize=64)

    async def drain(number: int, stream: AsyncGenerator[Part, None]) -> None:
        try:
            async with contextlib.aclosing(stream):
                async for part in stream:
                    moved = part._replace(index=index_of(number, part.index))
                    await queue.put(moved)
            await queue.put(None)
        except Exception as error:
            await queue.put(error)

    tasks = [asyncio.ensure_future(drain(i, s)) for i, s in enumerate(streams)]
    try:
        num_open = len(tasks)
        while num_open:
            found = await queue.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                num_open -= 1
            else:
                yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
