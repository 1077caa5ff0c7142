"""Joining the processes of a run: `jax.distributed`, with messages that say what to do.

JAX aborts a process that cannot join, or that has lost another one: no exception, no word
of ours. So a thread gives up before JAX does, and last words are left for later.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

import jax
from etils import epath

from kauldron._base import errors, last_words, processes
from kauldron.sharding import _compiling_in_turn, _roll_call

# How long a process can be silent before JAX ends the others. A connection to it that
# breaks is noticed sooner.
_HEARTBEAT_SECS = 60
# JAX gives up so much later than this module, whose message is clearer.
_LATER_SECS = 60

# After so long without the others, a line says who is missing.
_PATIENCE_SECS = 10.0
_LOOK_EVERY_SECS = 0.5
# Who gives up stays so long that the others see that it has come.
_LINGER_SECS = 2.0

_ADVICE = (
    "Was it started, and does its log say why it has ended? Is the address that of process "
    "0, can it be reached, and is its port free?"
)
_RESTART = (
    "Start all processes again with the same workdir: the run continues at its last "
    "checkpoint."
)
_ENDED = (
    "Error: {who} was ended: by JAX, because another process of the run has died, whose "
    f"log says why, or from outside (out of memory?). {_RESTART}"
)
_LOST = (
    "{who} has lost another process of the run, whose log says why it has ended. "
    f"{_RESTART} (JAX: {{error}})"
)
# Of the libraries in which devices of several processes talk.
_LOST_CONNECTION = re.compile("gloo|nccl|rccl|coordination service", re.IGNORECASE)


class LostProcessError(errors.Failure):
    """Another process of the run has ended, so that this one cannot go on."""


@contextlib.contextmanager
def joined_processes(
    requested: processes.Place | processes.Detection,
    *,
    timeout_secs: float,
    workdir: epath.PathLike | None,
) -> Iterator[None]:
    """Makes this process one of the several of a run inside the block.

    Enter it before anything is on a device.

    Args:
      requested: Which process this is, or how JAX finds out.
      timeout_secs: How long to wait until all processes are there.
      workdir: Directory of the run, where each process notes that it is there: so the
        others can say who is missing.

    Raises:
      ProcessesError: If it cannot be found out, or contradicts another process.
    """
    if jax.distributed.is_initialized():  # by the user's program
        yield
        return
    if isinstance(requested, processes.Place):
        expected = _roll_call.Expected(*requested)
        join = functools.partial(_join_at, requested)
    else:
        launcher = requested.launcher
        expected = _roll_call.Expected(
            None, launcher and launcher.index, launcher and launcher.count
        )
        join = functools.partial(_join_by_detection, requested)
    with _roll_call.present(expected, workdir) as roll_call:
        with _watching(expected, roll_call, timeout_secs):
            join(int(timeout_secs) + _LATER_SECS)
        words = last_words.LastWords(_ENDED.format(who=expected))
        try:
            with _compiling_in_turn.using(roll_call):
                yield
        except jax.errors.JaxRuntimeError as e:
            if _LOST_CONNECTION.search(str(e)) is None:
                raise
            first_line = str(e).partition("\n")[0]
            raise LostProcessError(_LOST.format(who=expected, error=first_line)) from e
        finally:
            words.close()


def _join_at(place: processes.Place, timeout_secs: int) -> None:
    jax.distributed.initialize(
        coordinator_address=place.address,
        process_id=place.index,
        num_processes=place.count,
        cluster_detection_method="deactivate",
        initialization_timeout=timeout_secs,
        heartbeat_timeout_seconds=_HEARTBEAT_SECS,
    )


def _join_by_detection(requested: processes.Detection, timeout_secs: int) -> None:
    method, launcher = requested
    try:
        jax.distributed.initialize(
            cluster_detection_method=method,
            initialization_timeout=timeout_secs,
            heartbeat_timeout_seconds=_HEARTBEAT_SECS,
        )
    except Exception as e:  # each detection fails in its own ways
        told = f"--{processes.FLAG}={method}"
        if launcher is not None and method is None:
            told = (
                f"{launcher.name} has started this process as one of several "
                f"({launcher.variable}={os.environ[launcher.variable]!r})"
            )
        raise processes.ProcessesError(
            f"{told}, but JAX cannot tell which one of how many it is "
            f"({type(e).__name__}: {e}). Say it with `--{processes.FLAG}=HOST:PORT,INDEX,"
            f"COUNT`, or let it be a run of its own: `--{processes.FLAG}={processes.OFF}`."
        ) from e


@contextlib.contextmanager
def _watching(
    expected: _roll_call.Expected, roll_call: _roll_call.RollCall, timeout_secs: float
) -> Iterator[None]:
    """Ends this process if the others do not come, or contradict it, inside the block."""
    is_over = threading.Event()

    def end(message: str, code: int) -> NoReturn:  # the main thread waits inside JAX
        _print(f"Error: {message}")
        time.sleep(_LINGER_SECS)
        roll_call.leave()
        os._exit(code)

    def end_at_conflict() -> None:
        conflict = roll_call.conflict()
        if conflict is not None:
            end(conflict, 2)

    def watch() -> None:
        since, has_told = time.monotonic(), False
        while not is_over.wait(_LOOK_EVERY_SECS):
            waited = time.monotonic() - since
            end_at_conflict()
            absence = _describe_absence(expected, roll_call)
            if waited >= timeout_secs:
                end(f"{absence} for {timeout_secs:g} s. {_ADVICE}", 1)
            if waited >= _PATIENCE_SECS and not has_told:
                _print(f"{absence}, up to {timeout_secs:g} s.")
                has_told = True

    thread = threading.Thread(target=watch, name="kauldron-roll-call", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    end_at_conflict()  # JAX may not mind


def _describe_absence(
    expected: _roll_call.Expected, roll_call: _roll_call.RollCall
) -> str:
    absence = roll_call.describe_absence()
    where = f" at {expected.address}" if expected.address else ""
    if absence is None:
        absence = "the others; those whose log does not say this are missing"
    elif not absence:
        absence = "the others: all are there, but don't meet"
    return f"{expected} waits{where} for {absence}"


def _print(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
