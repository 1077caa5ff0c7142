"""Processes that begin as copies of this one, in which a run's libraries are imported.

To import JAX and what stands on it takes as long as all that comes before the first step.
Processes that start together on one machine do it once, and have that memory in common.
A copy is otherwise what `python -m` starts: signals, streams, `__main__` and `sys.argv`
are its own, and of the files of this process none is open in it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import random
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from kauldron._base import collector, switches

SWITCH_VARIABLE = "KAULDRON_SHARED_IMPORTS"

# What each run imports; modules of the user, and what only some runs need, are not here.
_MODULES = (
    "jax",
    "flax.linen",
    "optax",
    "kauldron.cli.train",
    "kauldron.evals.evaluators",
    "kauldron.losses",
    "kauldron.metrics",
    "kauldron.recording.recorder",
    "kauldron.train.train_loop",
    "kauldron.train.trainer_lib",
)


class Original:
    """This process, with a run's libraries imported; `start` makes copies of it.

    Use `prepare`.
    """

    def __init__(self, descriptors: Sequence[int]) -> None:
        self._descriptors = descriptors

    def start(
        self,
        module: str,
        args: Sequence[str],
        *,
        env: Mapping[str, str],
        output: int,
        prepare: Callable[[], None],
    ) -> Copy:
        """Starts a process that does as `python -m MODULE ARGS`.

        Args:
          module: Name of the module.
          args: Arguments.
          env: All of its variables; those that JAX reads when it is imported must be
            those of this process.
          output: Descriptor of the file that gets its output.
          prepare: Called there, before anything else.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        # No handler of this process may take a signal that is meant for the copy.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if not pid:
                self._become(module, args, env, output, prepare, before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return Copy(pid)

    def _become(
        self,
        module: str,
        args: Sequence[str],
        env: Mapping[str, str],
        output: int,
        prepare: Callable[[], None],
        signals: set[Any],
    ) -> NoReturn:
        code = 1
        try:
            os.setsid()
            prepare()
            _take_streams(output)
            for descriptor in self._descriptors:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            os.environ.clear()
            os.environ.update(env)
            _forget_state_of_original()
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
            code = _run_as_main(module, args)
        except BaseException:
            traceback.print_exc()
        finally:
            _leave(code)


class Copy:
    """A copy that was started, as a `subprocess.Popen` is used.

    Attributes:
      pid: Its process id.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Returns its exit code, negative for a signal; `None` while it runs."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        """Waits for its end; returns its exit code."""
        return self._wait(0)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once."""
        self._send(signal.SIGKILL)

    def _wait(self, options: int) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:  # else the id may be that of another process
            os.kill(self.pid, number)


def prepare(args: Sequence[str]) -> Original | None:
    """Imports what a run needs; returns `None` where copies are not possible.

    Args:
      args: Arguments of the run.
    """
    # JAX reads its flags when it is imported.
    configures_jax = any(arg.lstrip("-").startswith("jax_") for arg in args)
    if not switches.is_on(SWITCH_VARIABLE) or sys.platform != "linux" or configures_jax:
        return None
    descriptors = [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2]
    with collector.postponed():
        try:
            for module in _MODULES:
                importlib.import_module(module)
        except Exception:  # the run itself will tell it
            return None
    if threading.active_count() > 1:  # a copy has only the thread that makes it
        return None
    return Original(descriptors)


def _take_streams(output: int) -> None:
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for stream in (1, 2):
        os.dup2(output, stream)


def _forget_state_of_original() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.unfreeze()
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _run_as_main(module: str, args: Sequence[str]) -> int:
    """Runs a module as `python -m` does; returns its exit code."""
    sys.argv = [module, *args]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as e:
        if e.code is None or isinstance(e.code, int):
            return e.code or 0
        print(e.code, file=sys.stderr)
        return 1
    return 0


def _leave(code: int) -> NoReturn:
    """Ends a copy as Python ends, without what waits in the original."""
    try:
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]  # as multiprocessing
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF)
