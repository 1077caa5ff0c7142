"""Sources of the states that a standalone evaluation evaluates."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from kauldron import checkpoints
from kauldron._base import console, errors
from kauldron.evals import base
from kauldron.sharding import TrainState
from kauldron.workdir import run_status

_MAX_NAME = 100


class NothingToEvaluateError(errors.UserError, ValueError):
    """There is no checkpoint, and there will be none."""


class Source(abc.ABC):
    """The checkpoints of a run.

    Attributes:
      workdir: Directory of the run that makes them.
      last_step: Step at which it ends; `None` if only the run knows.
    """

    workdir: epath.Path
    last_step: int | None

    def status(self) -> run_status.RunStatus | None:
        """Returns what the training is doing; `None` if nothing says so."""
        return run_status.read(self.workdir)

    def has_ended(self, status: run_status.RunStatus | None) -> bool:
        """Whether no more checkpoints will come."""
        if status is None or status.state != "done":
            return False
        return self.last_step is None or self.last_step <= max(
            status.step, status.last_step
        )

    @functools.cached_property
    def reader(self) -> checkpoints.CheckpointReader:
        return checkpoints.CheckpointReader(self.workdir)

    def steps(self) -> list[int]:
        """Returns the steps that can be restored, ascending."""
        return self.reader.steps()

    @abc.abstractmethod
    def restore(self, step: int) -> TrainState:
        """Returns the state of a step.

        Raises:
          CheckpointGoneError: If it was removed.
          DamagedCheckpointError: If its files are not what was written.
        """

    def release(self, step: int) -> None:
        """Says that a step is not needed any more."""
        del step

    def should_exist(self, first: int, stop: int) -> Iterable[int]:
        """Returns the steps in `[first, stop)` that the training has saved."""
        del first, stop
        return ()


class OwnRun(Source):
    """The run of the same config, trained by another process.

    Args:
      trainer: The trainer.
      selected: The evaluators; the optimizer state is read only if one wants it.
    """

    def __init__(
        self, trainer: base.Run, selected: Mapping[str, base.EvaluatorBase]
    ) -> None:
        if not trainer.checkpointer.saves:
            raise NothingToEvaluateError(
                "This run saves nothing, so there is nothing to evaluate: set "
                "`cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=...)`."
            )
        self.workdir = trainer.workdir
        self._trainer = trainer
        self._selected = selected
        try:
            self.last_step = trainer.last_step()
        except errors.UserError:  # only the data know
            self.last_step = None

    @functools.cached_property
    def _specs(self) -> TrainState:
        specs = self._trainer.state_specs
        if all(e.discard_opt for e in self._selected.values()):
            specs = dataclasses.replace(specs, opt_state=None)
        return specs

    def restore(self, step: int) -> TrainState:
        return self.reader.restore(self._specs, step=step)

    def should_exist(self, first: int, stop: int) -> Iterable[int]:
        saves = self._trainer.checkpointer.should_save
        return (step for step in range(first, stop) if saves(step))


class KeptRun(OwnRun):
    """As `OwnRun`; the state under evaluation is kept in the evaluator's own folder.

    The training may remove it meanwhile, and an evaluation that was killed finds it again.
    """

    @functools.cached_property
    def _kept(self) -> checkpoints.CheckpointReader:
        names = ":".join(self._selected)
        if len(names) > _MAX_NAME:
            names = hashlib.sha256(names.encode()).hexdigest()
        return checkpoints.CheckpointReader(self.workdir / f"_eval_{names}")

    def steps(self) -> list[int]:
        return sorted({*super().steps(), *self._kept.steps()})

    def restore(self, step: int) -> TrainState:
        if step not in self._kept.steps():
            self.reader.copy_to(self._kept, step=step)
        return self._kept.restore(self._specs, step=step)

    def release(self, step: int) -> None:
        for kept in self._kept.steps():
            if kept <= step:
                self._kept.path(kept).rmtree()


class OtherRun(Source):
    """The run whose weights an evaluation-only config loads.

    Args:
      trainer: Whose `init_transform` has a `workdir` and a `step`.
    """

    def __init__(self, trainer: base.Run) -> None:
        loader: Any = trainer.init_transform
        if not _loads_a_run(loader):
            raise NothingToEvaluateError(
                "To follow the checkpoints of another run, `cfg.init_transform` must be a "
                f"`kd.ckpts.PartialKauldronLoader`: got {type(loader).__name__}."
            )
        self.workdir = epath.Path(loader.workdir)
        self.last_step = None
        self._trainer = trainer
        step = checkpoints.resolve_step(self.workdir, loader.step)
        self._loader = dataclasses.replace(loader, step=step)

    def steps(self) -> list[int]:
        wanted = self._loader.step
        return [s for s in super().steps() if wanted in (-1, s)]

    def has_ended(self, status: run_status.RunStatus | None) -> bool:
        # Without a status it is a run of another program, or one copied elsewhere.
        return status is None or self._loader.step != -1 or super().has_ended(status)

    def restore(self, step: int) -> TrainState:
        loader = dataclasses.replace(self._loader, step=step)
        with self.reader.guard(step):
            return self._trainer.replace(init_transform=loader).init_state()


def _loads_a_run(transform: Any) -> bool:
    if not dataclasses.is_dataclass(transform):
        return False
    return {"workdir", "step"} <= {f.name for f in dataclasses.fields(transform)}


def initial_state(trainer: base.Run) -> TrainState:
    """Returns the state that an evaluation-only trainer begins with.

    If it loads the newest checkpoint of a run in progress, that is the newest as of
    now.
    """
    if not _loads_a_run(trainer.init_transform):
        return trainer.init_state()
    source = OtherRun(trainer)
    status = source.status()
    if status is not None and status.is_alive:
        console.log(
            f"The training in {source.workdir} {status.describe()}. Its newest checkpoint "
            "is evaluated."
        )
    while steps := sorted(source.steps(), reverse=True):
        with contextlib.suppress(checkpoints.CheckpointGoneError):
            _, state = checkpoints.newest_intact(steps, source.restore)
            return state
    return trainer.init_state()  # says what is missing
