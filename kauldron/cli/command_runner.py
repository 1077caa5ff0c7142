"""The shell around every command: flags, messages, exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kauldron._base import allocator, console, errors, problem_log, tracebacks
from kauldron.cli import command_kinds, help_text

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_MISTAKE = 2
EXIT_FLAWED = 3  # done, but something was lost, or a loss is not finite
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: run it again to continue

DEBUG_VARIABLE = "KAULDRON_DEBUG"


def run(
    work: Callable[[], None],
    *,
    argv: Sequence[str],
    command: command_kinds.Command | None = None,
) -> int:
    """Runs a command and returns its exit code; prints its help if that is asked for.

    A mistake of the user becomes a few lines on stderr and code 2; its traceback is
    shown with `--debug`, or with the environment variable `KAULDRON_DEBUG=1`. What is
    no mistake of the user keeps its traceback, and gives code 1; so does a mistake that
    shows when a run has already begun. Tracebacks begin at the user's code, if any of it
    was running. With `--catch_post_mortem` the debugger looks at it first. Where a metric,
    a summary, a writer or a hook has failed on the way, or the last loss is not finite,
    the code is 3.
    """
    if command is not None and help_text.is_wanted(argv[1:]):
        return show(help_text.of_command(command))
    make_cwd_importable()
    allocator.keep_freed_memory()
    with problem_log.collect(with_tracebacks=_wants_traceback(argv)) as problems:
        code = _run(work, argv, problems)
    return EXIT_FLAWED if code == EXIT_DONE and problems.lines() else code


def _run(
    work: Callable[[], None], argv: Sequence[str], problems: problem_log.Problems
) -> int:
    try:
        with _debugger(argv):
            work()
        sys.stdout.flush()
    except errors.UserError as e:
        if _wants_traceback(argv):
            print(tracebacks.format_error(e), end="", file=sys.stderr)
        else:
            _print_mistake(e)
        return EXIT_FAILED if problems.has_started else EXIT_MISTAKE
    except KeyboardInterrupt as e:
        print(f"{str(e) or 'Interrupted.'}{console.tag()}", file=sys.stderr)
        return EXIT_INTERRUPTED if getattr(e, "saved", False) else EXIT_FAILED
    except BrokenPipeError:
        # The reader of our output, such as `head`, has quit. Python would complain
        # once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except errors.Failure as e:
        print(f"Error{console.tag()}: {e}", file=sys.stderr)
        return EXIT_FAILED
    except Exception as e:
        if console.tag():
            print(f"Error{console.tag()}:", file=sys.stderr)
        print(tracebacks.format_error(e), end="", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_DONE


def show(text: str) -> int:
    """Prints a text, as a command that does nothing else; returns the exit code."""
    return run(lambda: print(text), argv=())


@contextlib.contextmanager
def _debugger(argv: Sequence[str]) -> Iterator[None]:
    """Enters `pdb` where an exception was raised, if the flag asks for it."""
    try:
        yield
    except Exception as e:
        if _is_set(argv, "catch_post_mortem") and not isinstance(e, BrokenPipeError):
            import pdb

            print(tracebacks.format_error(e), end="", file=sys.stderr)
            pdb.post_mortem(e.__traceback__)
        raise


def to_trainer(resolved: object) -> Any:
    """Returns what a config was resolved to, if it is something that trains.

    Raises:
      NotATrainerError: If it is not.
    """
    if not hasattr(resolved, "train"):
        kind = type(resolved).__name__
        hint = ""
        if kind == "ConfigDict":
            hint = (
                " A function that returns a config was called inside "
                "`konfig.imports()`, which makes a node of it: call it outside."
            )
        raise NotATrainerError(
            f"The config builds a {kind}; a run needs `cfg = kd.train.Trainer(...)`.{hint}"
        )
    return resolved


class NotATrainerError(errors.UserError, TypeError):
    """A config that does not describe a run."""


class CannotWriteError(errors.UserError, OSError):
    """Files that a command was asked for, and that cannot be written."""


@contextlib.contextmanager
def writing(path: str | os.PathLike[str], *, is_file: bool = False) -> Iterator[None]:
    """Makes of an error of the disk in the block a mistake that names what is written.

    Args:
      path: What is written: a folder, which may be new, or a file.
      is_file: Whether it is a file: its folder must exist.
    """
    folder = os.path.dirname(path)
    if is_file and folder and "://" not in folder and not os.path.isdir(folder):
        raise CannotWriteError(
            f"There is no folder {folder!r} for {os.path.basename(path)!r}: create it, or "
            "name another."
        )
    try:
        yield
    except errors.UserError:
        raise
    except OSError as e:
        raise CannotWriteError(
            f"{os.fspath(path)!r} cannot be written: {e.strerror or e}."
        ) from e


class CommandFailed(errors.Failure):
    """A failure whose message says everything: no mistake, and no traceback."""


def make_cwd_importable() -> None:
    """Lets configs import modules beside them, as `python -m` does by itself."""
    cwd = os.getcwd()
    if cwd not in sys.path and "" not in sys.path:
        sys.path.insert(0, cwd)


def _wants_traceback(argv: Sequence[str]) -> bool:
    return _is_set(argv, "debug") or os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def _is_set(argv: Sequence[str], flag: str) -> bool:
    """Whether a switch is on; flags may not be parsed yet when something fails."""
    values = [arg.lstrip("-").partition("=") for arg in argv[1:] if arg.startswith("-")]
    on = [
        value.lower() not in ("false", "0") for name, _, value in values if name == flag
    ]
    return bool(on) and on[-1]


def _print_mistake(e: Exception) -> None:
    lines = [f"Error{console.tag()}: {e}", *tracebacks.notes_of(e)]
    print("\n".join(lines), file=sys.stderr)
    if tracebacks.user_place(e) is not None:  # otherwise there is nothing of interest
        print("(--debug shows where it was raised.)", file=sys.stderr)
