"""A request on its way, and a thread that waits for its pieces."""

from __future__ import annotations

import asyncio
import dataclasses
import queue
from collections.abc import Callable, Sequence

from kauldron.serve.engine._writer import AnswerWriter
from kauldron.serve.requests import Piece, Request


@dataclasses.dataclass(eq=False)
class Job:
    """A request on its way.

    Attributes:
      request: What is asked.
      writers: Of its answers.
      deliver: Takes the pieces; must not wait.
      error: What went wrong with an answer that ended with `"error"`.
    """

    request: Request
    writers: Sequence[AnswerWriter]
    deliver: Callable[[Piece], None]
    error: BaseException | None = None


class Pieces:
    """Pieces for a thread that waits for them, until all answers are over.

    Args:
      num_answers: How many there are.
    """

    def __init__(self, num_answers: int) -> None:
        self._num_open = num_answers
        self._queue: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        self.deliver = self._queue.put

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> Piece:
        if not self._num_open:
            raise StopIteration
        piece = self._queue.get()
        self._num_open -= piece.finish_reason is not None
        return piece


class AsyncPieces:
    """Pieces for a task that waits for them; made in its event loop.

    Args:
      num_answers: How many there are.
    """

    def __init__(self, num_answers: int) -> None:
        self._num_open = num_answers
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Piece] = asyncio.Queue()

    def deliver(self, piece: Piece) -> None:
        """Takes a piece from another thread."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, piece)

    def __aiter__(self) -> AsyncPieces:
        return self

    async def __anext__(self) -> Piece:
        if not self._num_open:
            raise StopAsyncIteration
        piece = await self._queue.get()
        self._num_open -= piece.finish_reason is not None
        return piece
