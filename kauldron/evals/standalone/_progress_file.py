"""Progress of a standalone evaluator: `workdir/standalone_evals/<name>.json`.

A step is recorded after its results are written. Any results for steps after
the last recorded one come from an evaluation that was killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator

from etils import epath

from kauldron._base import errors, shared_files

FOLDER = "standalone_evals"


class BusyError(errors.UserError, RuntimeError):
    """Another process does the same work."""


class RecordError(errors.UserError, ValueError):
    """A record that cannot be read."""


@dataclasses.dataclass
class Record:
    """Progress of one evaluator through the checkpoints of a run, in ascending order.

    Attributes:
      path: File it is kept in.
      run_id: The run, see `RunStatus.run_id`; empty while not known.
      evaluated: Steps whose results are written.
      skipped: Steps that were removed before they could be evaluated.
    """

    path: epath.Path
    run_id: str = ""
    evaluated: list[int] = dataclasses.field(default_factory=list)
    skipped: list[int] = dataclasses.field(default_factory=list)

    @property
    def last_step(self) -> int:
        """The last step that is dealt with; -1 if none is."""
        return max([*self.evaluated, *self.skipped], default=-1)

    def reset(self, run_id: str) -> None:
        """Begins with another run."""
        self.run_id, self.evaluated, self.skipped = run_id, [], []
        self.save()

    def save(self) -> None:
        """Writes the file."""
        fields = {k: v for k, v in vars(self).items() if k != "path"}
        shared_files.write_atomically(self.path, json.dumps(fields))


@contextlib.contextmanager
def opened(workdir: epath.Path, name: str) -> Iterator[Record]:
    """Owns the record of an evaluator inside the block.

    Raises:
      BusyError: If another process owns it.
    """
    path = workdir / FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(
                shared_files.exclusive(shared_files.lock_of(path), blocking=False)
            )
        except BlockingIOError:
            raise BusyError(
                f"Another process runs the evaluator {name!r} in {os.fspath(workdir)!r}."
            ) from None
        yield _read(path)


def _read(path: epath.Path) -> Record:
    try:
        return Record(path, **json.loads(path.read_text()))
    except FileNotFoundError:
        return Record(path)
    except (ValueError, TypeError) as e:
        raise RecordError(
            f"{os.fspath(path)!r} is damaged ({e}). Remove it to evaluate every checkpoint "
            "again."
        ) from e
