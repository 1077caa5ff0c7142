"""Sweeps whose trials come one after the other, each from how the others did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from kauldron._base import errors
from kauldron.launch._backend import LaunchError
from kauldron.launch.sweeps import _folder, _sweep


class Proposer(Protocol):
    """Says what the trials of a sweep are, while it runs.

    What it needs to know of the trials before, it reads in the folder of the sweep: so
    another process goes on where one was killed.

    Attributes:
      cfg: Path of the config file.
      workdir: Folder of the sweep.
      trial_flags: What all runs share, as flags.
      trust: Packages that a `config.json` from elsewhere may name.
      paths: What differs between trials.
    """

    @property
    def cfg(self) -> str: ...
    @property
    def workdir(self) -> str: ...
    @property
    def trial_flags(self) -> Sequence[str]: ...
    @property
    def trust(self) -> Sequence[str]: ...
    @property
    def paths(self) -> Sequence[str]: ...

    def check(self) -> tuple[str, str]:
        """Makes sure that it can be run; writes nothing.

        Returns:
          What trials are compared by, such as `'eval.accuracy'`, and whether its largest
          value is the best, `'max'`, or the smallest, `'min'`.

        Raises:
          UserError: If not.
        """
        ...

    def begin(self) -> None:
        """Is called by the process that owns the folder, before anything is started."""
        ...

    def propose(self) -> Mapping[str, Any] | None:
        """Returns path -> value of another trial, `None` if there is to be none.

        It is asked when there is room for a trial, and again when one has ended.
        """
        ...


class Growth:
    """Adds trials to a sweep, as they are proposed.

    Attributes:
      error: Why no more can be proposed.
    """

    def __init__(
        self,
        folder: _folder.SweepFolder,
        proposer: Proposer,
    ) -> None:
        self._folder, self._proposer = folder, proposer
        self._sweep = to_sweep(proposer)
        self.error: errors.UserError | None = None

    def add_to(
        self, saved: _folder.SavedSweep
    ) -> tuple[_folder.SavedSweep, _sweep.Trial] | None:
        """Returns the sweep with another trial, which is on disk; or nothing."""
        if self.error is not None:
            return None
        try:
            overrides = self._proposer.propose()
        except errors.UserError as e:  # what runs is not to suffer from it
            self.error = e
            return None
        if overrides is None:
            return None
        return _folder.add(self._folder, saved, self._sweep, overrides)


def to_sweep(proposer: Proposer) -> _sweep.Sweep:
    """Returns the sweep that begins without a trial."""
    return _sweep.Sweep(
        cfg=proposer.cfg,
        workdir=proposer.workdir,
        trials=(),
        flags=proposer.trial_flags,
        trust=proposer.trust,
        varies=proposer.paths,
    )


def check_parallel(parallel: int | None, backend: str) -> None:
    """Makes sure that not all trials are started before the first has ended.

    Raises:
      LaunchError: If nothing says how many may run at a time.
    """
    if parallel is None:
        raise LaunchError(
            f"`{backend}` takes any number of trials at a time, and what is tried next "
            "depends on those before: say how many may run, such as `--parallel=8`."
        )
