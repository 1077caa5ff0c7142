"""Hooks: extra work during a run, such as `EarlyStopping` and `ReduceOnPlateau`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from kauldron import checkpoints, kontext, optim, recording
from kauldron._base import arguments, console, errors
from kauldron.evals import base
from kauldron.sharding import TrainState


class HookError(errors.UserError, ValueError):
    """A hook that does not fit the run."""


class RunControl:
    """What a hook may request of its run.

    With several processes, all of them must make the same request at the same event.

    Attributes:
      trainer: The `Trainer`.
      first_step: Where this process started: 0, or the step of the checkpoint.
      last_step: Where the run ends unless it is stopped.
      stop_reason: Why the run is to end now; `None` while it continues.
    """

    def __init__(self, trainer: base.Run, *, first_step: int, last_step: int) -> None:
        self.trainer = trainer
        self.first_step = first_step
        self.last_step = last_step
        self.stop_reason: str | None = None
        self.wants_save = False
        self.changes: list[Callable[[TrainState], TrainState]] = []

    def stop(self, reason: str) -> None:
        """Ends the run at this step boundary as if it were the last one.

        `Final` evaluators run and the state is saved. A run that is stopped in
        `Hook.on_start` does not train.
        """
        self.stop_reason = self.stop_reason or reason

    def save(self) -> None:
        """Saves the state at this step boundary, whether a save is due or not."""
        self.wants_save = True

    def change_state(self, change: Callable[[TrainState], TrainState]) -> None:
        """Changes the state at this step boundary, before it is saved.

        Args:
          change: Gets the state, and returns one of the same shapes, dtypes and
            placement, so that nothing is compiled again.
        """
        self.changes.append(change)


class Hook(arguments.NamesArguments):
    """Base of hooks: override what is of interest; the rest costs nothing.

    Every event gets the `RunControl` first. Events come in all processes, on the main
    thread and inside `jax.transfer_guard('disallow')`, except where stated. Arrays of a
    state are used up by the next step: copy what is to be kept.

    What a hook raises ends the run (exit code 1) once the other hooks have heard of the
    event: a check of your own may stop a run in this way. Only `on_log` and `on_error` stop
    nothing: what they raise is reported, and the exit code is 3.

    A hook with `get_state` and `set_state` (JSON) is saved with every checkpoint, and
    restored before `on_start`.
    """

    def reset(self) -> None:
        """Forgets earlier runs; called at every start, before a state is restored."""

    def check(self, trainer: base.Run) -> None:
        """Raises if the hook does not fit the run; nothing has been started yet."""

    def on_start(self, run: RunControl) -> None:
        """The state is ready, the first step is next."""

    def before_step(
        self, run: RunControl, *, step: int, state: TrainState, batch: Any
    ) -> None:
        """The update `step` → `step + 1` is next."""

    def after_step(
        self, run: RunControl, *, step: int, state: TrainState, aux: Any
    ) -> None:
        """The update `step` → `step + 1` is dispatched; reading its result waits."""

    def on_log(self, run: RunControl, *, step: int, values: Any) -> None:
        """The measurements of a logging step are computed.

        It runs on the writing thread, some steps later: don't stop the run here. What it
        raises is reported once per kind of error, and the run continues.

        Args:
          run: The run.
          step: As written.
          values: The `AuxiliariesOutput`, named `losses/x`, `metrics/x`.
        """

    def on_eval(
        self, run: RunControl, *, step: int, name: str, values: Mapping[str, Any]
    ) -> None:
        """The evaluator `name` has measured the state after `step` updates.

        Args:
          run: The run.
          step: Number of updates.
          name: Key of the evaluator in `trainer.evals`.
          values: Metric -> value, losses and their `total` too.
        """

    def on_checkpoint(self, run: RunControl, *, step: int) -> None:
        """The state after `step` updates was handed to the checkpointer."""

    def on_end(self, run: RunControl, *, step: int, state: TrainState) -> None:
        """The run is over and saved; `run.stop_reason` says whether it was stopped."""

    def on_error(self, run: RunControl, *, step: int, error: BaseException) -> None:
        """The run failed or was interrupted; the error is raised afterwards."""


@runtime_checkable
class Tracking(Protocol):
    """Something that follows a run from outside, such as an experiment tracker."""

    def follow(
        self, name: str
    ) -> contextlib.AbstractContextManager[tuple[Hook, recording.Writer]]:
        """Follows the run that happens inside the block.

        Yields what hears of its events, and what gets its measurements. At the end of the
        block, all files of the run are written, and an error is that of the run.

        Args:
          name: How it is called in messages.
        """
        ...


def trackers(trainer: Any) -> dict[str, Tracking]:
    """Returns what follows a run, by name; `HookError` if it is something else."""
    parts = {} if trainer.tracking is None else {"tracking": trainer.tracking}
    if isinstance(trainer.tracking, Mapping):
        parts = dict(trainer.tracking)
    for name, part in parts.items():
        if not isinstance(part, Tracking):
            place = "tracking" if part is trainer.tracking else f"tracking[{name!r}]"
            call = f" It is a text: write a call as `'--cfg.{place}=py::{part}'`."
            hint = call if isinstance(part, str) else ""
            raise HookError(
                f"`cfg.{place}` must be a tracker such as `kd.tracking.Local()`, or a "
                f"dict {{name: tracker}}: got {part!r}.{hint}"
            )
    return parts


@contextlib.contextmanager
def followed(trainer: Any) -> Iterator[Any]:
    """Yields a trainer with hook and writer of each that follows its run in the block."""
    parts = trackers(trainer)
    with contextlib.ExitStack() as stack:
        hooks, writers = dict(trainer.hooks), dict(trainer.writer.parts())
        for name, part in parts.items():
            hook, writer = stack.enter_context(part.follow(name))
            hooks[f"tracking.{name}"] = hook
            writers[f"tracking.{name}"] = writer
        yield trainer.replace(hooks=hooks, writer=writers) if parts else trainer


@dataclasses.dataclass
class _Record:
    """What a hook remembers that watches a metric."""

    best: float | None = None
    best_step: int | None = None
    num_without: int = 0
    last_step: int = -1
    num_reductions: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WatchesMetric(Hook):
    """Base of hooks that do something when evaluations have stopped getting better.

    An evaluation counts as better if it beats the best one by more than `min_delta`;
    NaN never does, nor does an equal value: of those the earliest step is the best, for
    the checkpointer, too (`kd.ckpts.is_better`).

    Attributes:
      metric: Key into `{evaluator: {metric: value}}`, such as `'test.accuracy'`, as in
        `Checkpointer.best_metric_path`; the loss is `'test.total'`.
      patience: Number of evaluations, >= 1.
      min_delta: Smallest change that counts, >= 0, in the metric's unit.
      mode: Whether a larger (`'max'`) or a smaller value is better.

    Raises:
      HookError: If a value is out of range.
    """

    metric: str
    patience: int
    min_delta: float = 0.0
    mode: Literal["max", "min"] = "max"
    _record: _Record = dataclasses.field(
        default_factory=_Record, init=False, repr=False
    )

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.mode not in ("max", "min"):
            raise HookError(f"`{name}.mode` is 'max' or 'min': got {self.mode!r}.")
        if len(kontext.Path.from_str(self.metric).parts) < 2:
            raise HookError(
                f"`{name}.metric` is an evaluator and what it measures, such as "
                f"'test.accuracy': got {self.metric!r}."
            )
        if self.patience < 1 or self.min_delta < 0:
            raise HookError(
                f"`{name}` needs patience >= 1 and min_delta >= 0: got "
                f"patience={self.patience}, min_delta={self.min_delta}."
            )

    def get_state(self) -> dict[str, Any]:
        """Returns what is saved with a checkpoint."""
        return dataclasses.asdict(self._record)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state."""
        vars(self._record).update(dataclasses.asdict(_Record(**state)))

    def reset(self) -> None:
        self.set_state({})

    def on_eval(
        self, run: RunControl, *, step: int, name: str, values: Mapping[str, Any]
    ) -> None:
        if name != kontext.Path.from_str(self.metric).parts[0]:
            return
        record = self._record
        if step <= record.last_step:  # repeated after a restart
            return
        record.last_step = step
        value = self._value(name, values)
        if checkpoints.is_better(
            value, record.best, self.mode, min_delta=self.min_delta
        ):
            record.best, record.best_step, record.num_without = value, step, 0
            self.on_better(run)
            return
        record.num_without += 1
        if record.num_without >= self.patience:
            self.on_plateau(run)

    def on_better(self, run: RunControl) -> None:
        """An evaluation is the best so far."""

    def on_plateau(self, run: RunControl) -> None:
        """`patience` evaluations in a row, or more, were not better."""

    def _value(self, name: str, values: Mapping[str, Any]) -> float:
        value = kontext.get_by_path({name: values}, self.metric)
        if np.size(value) != 1:
            raise HookError(
                f"`{type(self).__name__}.metric` must name a number: {self.metric!r} is "
                f"{type(value).__name__} of size {np.size(value)}."
            )
        return float(np.asarray(value).item())

    def _since_the_best(self) -> str:
        record = self._record
        return (
            f"{self.metric} has not improved for {record.num_without} evaluations "
            f"(best {record.best} at step {record.best_step})"
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class EarlyStopping(WatchesMetric):
    """Ends a run whose evaluations have stopped getting better.

    After `patience` evaluations in a row that are not better (see `WatchesMetric`), the
    run ends: the state is saved, `Final` evaluators run, and starting it again does not
    continue training unless `patience` was raised.

    Each better state is saved immediately, and kept until there is a better one,
    whatever else the checkpointer keeps. To keep several of the best, have the
    checkpointer rank by the same metric:
      `Checkpointer(best_metric_path='test.accuracy', max_to_keep=3)`.

    Attributes:
      metric: Key into `{evaluator: {metric: value}}`, such as `'test.accuracy'`, as in
        `Checkpointer.best_metric_path`; the loss is `'test.total'`.
      patience: Number of evaluations, >= 1.
      min_delta: Smallest change that counts, >= 0, in the metric's unit.
      mode: Whether a larger (`'max'`) or a smaller value is better.

    Raises:
      HookError: If a value is out of range.
    """

    @property
    def best_step(self) -> int | None:
        """Step of the best evaluation of the last run, to restore it by."""
        return self._record.best_step

    def on_start(self, run: RunControl) -> None:
        self._keep_best(run)
        if self._record.num_without >= self.patience:
            self.on_plateau(run)

    def on_better(self, run: RunControl) -> None:
        self._keep_best(run)
        run.save()

    def on_plateau(self, run: RunControl) -> None:
        run.stop(self._since_the_best())

    def on_end(self, run: RunControl, *, step: int, state: TrainState) -> None:
        if self._record.best_step is not None:
            console.log(
                f"Best {self.metric}: {self._record.best:.6g} at step "
                f"{self._record.best_step}."
            )

    def _keep_best(self, run: RunControl) -> None:
        checkpointer = getattr(run.trainer, "checkpointer", None)
        if checkpointer is not None:
            owner = f"early stopping by {self.metric} ({self.mode})"
            checkpointer.protect(self._record.best_step, owner=owner)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ReduceOnPlateau(WatchesMetric):
    """Makes the updates smaller when evaluations have stopped getting better.

    A learning rate schedule by what is measured: after `patience` evaluations in a row
    that are not better (see `WatchesMetric`), all further updates are multiplied by
    `factor`, on top of the optimizer's own schedule. The count begins anew then. For that
    the optimizer has `kd.optim.plateau_scale()`, as the last part of a chain.

    Attributes:
      metric: Key into `{evaluator: {metric: value}}`, such as `'test.accuracy'`.
      patience: Number of evaluations, >= 1.
      min_delta: Smallest change that counts, >= 0, in the metric's unit.
      mode: Whether a larger (`'max'`) or a smaller value is better.
      factor: What updates are multiplied by, between 0 and 1.
      min_scale: The product of all factors is not smaller than this, >= 0.

    Raises:
      HookError: If a value is out of range.
    """

    factor: float = 0.1
    min_scale: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.factor < 1 or not 0 <= self.min_scale < 1:
            raise HookError(
                "`ReduceOnPlateau` needs 0 < factor < 1 and 0 <= min_scale < 1: got "
                f"factor={self.factor}, min_scale={self.min_scale}."
            )

    @property
    def scale(self) -> float:
        """What updates are multiplied by now."""
        return max(self.factor**self._record.num_reductions, self.min_scale)

    def check(self, trainer: base.Run) -> None:
        if not optim.has_plateau_scale(trainer.state_specs.opt_state):
            raise HookError(
                "`ReduceOnPlateau`: nothing in `cfg.optimizer` follows it. Make it "
                "`optax.chain(..., kd.optim.plateau_scale())`."
            )

    def on_plateau(self, run: RunControl) -> None:
        before, since = self.scale, self._since_the_best()
        self._record.num_reductions += 1
        self._record.num_without = 0
        if self.scale < before:
            console.log(
                f"{since}: updates are multiplied by {self.scale:.3g} from now on."
            )
            run.change_state(self._rescaled)

    def _rescaled(self, state: TrainState) -> TrainState:
        opt_state = optim.set_plateau_scale(state.opt_state, self.scale)
        return dataclasses.replace(state, opt_state=opt_state)
