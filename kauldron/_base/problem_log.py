"""Non-fatal failures of a run: reported once, counted, summed up at the end.

A metric that cannot be computed, a writer that fails, a loss that is NaN: each is
reported the first time it happens, counted after that, and summed up at the end: in the
last line, in `status.json`, and by the exit code of the command.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import textwrap
import threading
from collections.abc import Iterator

from kauldron._base import console, errors, tracebacks

_MAX_MESSAGE = 160


@dataclasses.dataclass
class _Failure:
    """One thing that has failed."""

    first: BaseException
    kinds: set[type[BaseException]]
    num: int = 0


class Problems:
    """Collects what goes wrong, from any thread.

    Args:
      outer: Also receives every problem.
      with_tracebacks: Whether user errors are reported with the traceback.

    Attributes:
      has_started: Whether a run has begun: from then on, an error no longer means that
        nothing was started.
      with_tracebacks: As given, or as the outer one has it.
    """

    def __init__(
        self, outer: Problems | None = None, *, with_tracebacks: bool = False
    ) -> None:
        self.has_started = False
        self.with_tracebacks = with_tracebacks or (
            outer is not None and outer.with_tracebacks
        )
        self._outer = outer
        self._lock = threading.Lock()
        self._failures: dict[str, _Failure] = {}
        self._facts: dict[str, str] = {}

    def start(self) -> None:
        """Notes that a run has begun."""
        self.has_started = True
        if self._outer is not None:
            self._outer.start()

    def failed(self, what: str, error: BaseException, *, consequence: str = "") -> None:
        """Notes an error; warns of the first of each kind.

        Args:
          what: What has failed, as the user wrote it: `cfg.train_metrics['x']`.
          error: What it has raised.
          consequence: What happens to the rest, as the end of "x failed".
        """
        if self._count(what, error):
            told = (
                f"{what} failed{consequence}. Further errors of this kind are counted, "
            )
            explained = explain(error, with_traceback=self.with_tracebacks)
            console.warn(f"{told}not shown.\n{explained}")

    def _count(self, what: str, error: BaseException) -> bool:
        with self._lock:
            failure = self._failures.setdefault(what, _Failure(error, set()))
            failure.num += 1
            is_new = type(error) not in failure.kinds
            failure.kinds.add(type(error))
        if self._outer is not None:
            self._outer._count(what, error)
        return is_new

    def state(self, what: str, fact: str | None) -> None:
        """Notes the state of something: `'the loss'`, `'is nan since step 4'`.

        `None` retracts it, and the failures noted under this name as well.
        """
        with self._lock:
            if fact is None:
                self._facts.pop(what, None)
                self._failures.pop(what, None)
            else:
                self._facts[what] = fact
        if self._outer is not None:
            self._outer.state(what, fact)

    def lines(self) -> list[str]:
        """Returns what went wrong, a line each; empty if nothing did."""
        with self._lock:
            failures = [_describe(k, f) for k, f in self._failures.items()]
            return [*failures, *(f"{k} {fact}" for k, fact in self._facts.items())]


_current: contextvars.ContextVar[Problems | None] = contextvars.ContextVar(
    "kauldron_problems", default=None
)


@contextlib.contextmanager
def collect(*, with_tracebacks: bool = False) -> Iterator[Problems]:
    """Collects what goes wrong inside the block, in this thread.

    Blocks may be nested: the outer one collects the problems of the inner ones too.

    Args:
      with_tracebacks: See `Problems`.
    """
    problems = Problems(_current.get(), with_tracebacks=with_tracebacks)
    token = _current.set(problems)
    try:
        yield problems
    finally:
        _current.reset(token)


def current() -> Problems | None:
    """Returns where problems of this thread are collected; `None` if nowhere."""
    return _current.get()


def explain(error: BaseException, *, with_traceback: bool | None = None) -> str:
    """Returns an error with the user's lines it came from; else its traceback.

    A full disk, and a user error, whose message says what to do, are reported without
    a traceback.

    Args:
      error: What was raised.
      with_traceback: Whether these have a traceback nevertheless; by default, as set
        where this thread collects problems.
    """
    if with_traceback is None:
        collected = current()
        with_traceback = collected is not None and collected.with_tracebacks
    is_mistake = isinstance(error, errors.UserError | errors.Failure)
    if is_mistake and with_traceback:
        return tracebacks.format_error(error).rstrip()
    message = str(error) if is_mistake else f"{type(error).__name__}: {error}"
    if places := tracebacks.describe(error):
        return "\n".join([message, *tracebacks.notes_of(error), places])
    if is_mistake:
        return "\n".join([message, *tracebacks.notes_of(error)])
    if isinstance(error, OSError):
        return str(error)
    return tracebacks.format_error(error).rstrip()


def _describe(what: str, failure: _Failure) -> str:
    error = failure.first
    message = (str(error).splitlines() or [""])[0]
    if len(message) > _MAX_MESSAGE:
        message = textwrap.shorten(message, _MAX_MESSAGE, placeholder=" ...")
    place = tracebacks.user_place(error)
    where = f", {place}" if place else ""
    times = "once" if failure.num == 1 else f"{failure.num} times"
    return f"{what} failed {times} ({type(error).__name__}: {message}{where})"
