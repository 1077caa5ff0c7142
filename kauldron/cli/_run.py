"""What every command does around its work: flags, messages, exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from kauldron import errors

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: run it again to continue

DEBUG_VARIABLE = "KAULDRON_DEBUG"


def run(work: Callable[[], None], *, argv: Sequence[str]) -> int:
    """Runs a command and returns its exit code.

    A mistake of the user becomes a few lines on stderr and code 2; its traceback is
    shown with `--debug`, or with the environment variable `KAULDRON_DEBUG=1`. What is
    no mistake of the user keeps its traceback, and gives code 1.
    """
    make_cwd_importable()
    try:
        work()
        sys.stdout.flush()
    except (errors.UserError, flags.Error) as e:
        if _wants_traceback(argv):
            traceback.print_exc()
        else:
            _print_mistake(e)
        return EXIT_MISTAKE
    except KeyboardInterrupt as e:
        print(str(e) or "Interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED if getattr(e, "saved", False) else EXIT_FAILED
    except BrokenPipeError:
        # Whoever read our output, such as `head`, has seen enough. Python would complain
        # once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except CommandFailed as e:
        print(f"Error: {e}", file=sys.stderr)
        return EXIT_FAILED
    except Exception as e:
        traceback.print_exc()
        if any(arg in _flag_on("catch_post_mortem") for arg in argv):
            import pdb

            pdb.post_mortem(e.__traceback__)
        return EXIT_FAILED
    return EXIT_DONE


def to_trainer(resolved: Any) -> Any:
    """Returns what a config was resolved to, if it is something that trains.

    Raises:
      NotATrainerError: If it is not.
    """
    if not hasattr(resolved, "train"):
        raise NotATrainerError(
            f"The config builds a {type(resolved).__name__}; a run needs "
            "`cfg = kd.train.Trainer(...)`."
        )
    return resolved


class NotATrainerError(errors.UserError, TypeError):
    """A config that describes no run."""


class CommandFailed(Exception):
    """A failure whose message says everything: no mistake, and no traceback."""


def make_cwd_importable() -> None:
    """Lets configs import modules beside them, as `python -m` does by itself."""
    cwd = os.getcwd()
    if cwd not in sys.path and "" not in sys.path:
        sys.path.insert(0, cwd)


def _wants_traceback(argv: Sequence[str]) -> bool:
    if any(arg in _flag_on("debug") for arg in argv):
        return True
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def _flag_on(name: str) -> tuple[str, ...]:
    """Returns how a flag is switched on."""
    return (f"--{name}", f"--{name}=true", f"-{name}")


def _print_mistake(e: Exception) -> None:
    # JAX adds a note about frames of a traceback that is not shown here.
    notes = [n for n in getattr(e, "__notes__", ()) if "JAX has removed" not in n]
    print("\n".join([f"Error: {e}", *notes]), file=sys.stderr)
    print("(--debug shows where it was raised.)", file=sys.stderr)
