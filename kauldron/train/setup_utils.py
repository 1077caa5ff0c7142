"""`Setup`: how a run is prepared, named, and displayed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence

from kauldron._base import arguments, console, shared_files
from kauldron.evals import base
from kauldron.workdir import lock


@dataclasses.dataclass(frozen=True, kw_only=True)
class TqdmInfo:
    """How the progress of a run is shown.

    Attributes:
      desc: Name of the run in the live display.
      log_xm: Accepted for compatibility.
    """

    desc: str = "train"
    log_xm: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup(arguments.NamesArguments):
    """Preparation of a run.

    Attributes:
      tags: Names of the run, a list or `'a,b'`; kept in the config.
      note_template: A note; kept in the config.
      tqdm_info: Names the run in the display of its progress.
      eval_only: Whether the run only evaluates.
      preemptable_eval: Whether a standalone evaluation can continue after a restart.
      compilation_cache: Whether compiled programs are kept for later runs in a cache
        directory of the user; `KAULDRON_COMPILATION_CACHE=0` also turns it off. A
        directory set in JAX itself (`JAX_COMPILATION_CACHE_DIR`) is used as it is.
    """

    tags: Sequence[str] | str = ()
    note_template: str = ""
    tqdm_info: TqdmInfo = dataclasses.field(default_factory=TqdmInfo)
    eval_only: bool = False
    preemptable_eval: bool = False
    compilation_cache: bool = True

    def run(self, trainer: base.Run) -> None:
        """Creates the workdir.

        Raises:
          WorkdirError: If there is none, or it cannot be written.
        """
        lock.make_writable(lock.given(trainer.workdir))

    def log_status(self, message: str) -> None:
        """Prints one line about the state of the run."""
        console.log_status(message)


@contextlib.contextmanager
def owning(trainer: base.Run, *, has_started: Callable[[], bool]) -> Iterator[None]:
    """Prepares the workdir and owns it inside the block; see `Setup.run`.

    A run that ends before it has started leaves nothing behind.

    Args:
      trainer: The run.
      has_started: Called when the block is left by an error.

    Raises:
      WorkdirError: If there is no workdir, it cannot be written, or is in use.
    """
    workdir = trainer.workdir
    is_local = workdir is not None and not shared_files.is_remote(workdir)
    folders = (workdir, *workdir.parents) if is_local else ()
    made = [path for path in folders if not path.exists()]
    try:
        trainer.setup.run(trainer)
        with lock.owned(workdir, stays=has_started):
            yield
    except BaseException:
        if not has_started():
            with contextlib.suppress(OSError):  # not empty: in use
                for path in made:
                    os.rmdir(path)
        raise
