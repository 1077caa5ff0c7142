"""`Reporting`: everything a training run reports, to writers and to the console."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any, Self

import jax
import numpy as np

from kauldron import recording, sharding
from kauldron._base import problem_log
from kauldron.recording import chrono as chrono_lib
from kauldron.recording import loss_watch, progress, recorder
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries, finiteness, looking, state_trees
from kauldron.train import _run_description
from kauldron.workdir import config_values


class Reporting:
    """The writers and the display of a run, from its start to its end, as a context.

    Nothing here waits for a writer except `wait`, and the end of the run.

    Args:
      trainer: The run.
      chrono: Clock of the loop.
      first_step: Where this process begins.
      last_step: Number of updates of the whole run.
      problems: Receives failures that do not stop the run.
    """

    def __init__(
        self,
        trainer: _run_description.RunDescription,
        *,
        chrono: chrono_lib.Chrono,
        first_step: int,
        last_step: int,
        problems: problem_log.Problems,
    ) -> None:
        self._trainer = trainer
        self._problems = problems
        self._chrono = chrono
        self._first_step = first_step
        self.progress = progress.Progress(
            first_step, last_step, chrono=chrono, label=trainer.setup.tqdm_info.desc
        )
        self._losses = {
            "train": loss_watch.LossWatch("the loss", advises=trainer.nan_guard is None)
        }
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Self:
        # Those of standalone evaluators belong to another process.
        along_train = [e for e in self._trainer.evals.values() if e.run.is_along_train]
        writers = [self._trainer.writer, *(e.writer for e in along_train)]
        self._recorder = recorder.Recorder(writers, self._problems)
        self._recorder.rewind(self._first_step)
        self._exit.enter_context(self.progress)
        self._exit.callback(self._recorder.close)  # its last lines are still shown
        self._exit.enter_context(self._recorder.active())
        return self

    def __exit__(self, *exc: object) -> None:
        self._exit.close()

    def describe(self, state: TrainState) -> None:
        """Writes what is known of a new run: config, parameters, data, keys."""
        if looking.is_line_by_line():  # to know the keys, the model would be followed
            return
        trainer, step = self._trainer, self._first_step
        # Shapes alone: the arrays are used up by the first step.
        params = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state.params
        )
        config = trainer.raw_cfg
        description = recording.Description(
            params=params,
            element_spec=trainer.train_ds.element_spec,
            trainer=trainer,
            config=config,
            hparams={}
            if config is None
            else config_values.leaves(json.loads(config.to_json())),
        )
        # After the first line of the log, which would wait for it.
        self._recorder.run_after(
            lambda: self._recorder.tell(
                trainer.writer, lambda w: w.describe(step, description)
            )
        )

    def log(
        self,
        step: int,
        aux: auxiliaries.AuxiliariesState,
        *,
        log_summaries: bool,
        then: Callable[[auxiliaries.AuxiliariesOutput], Any] | None = None,
    ) -> None:
        """Writes and shows what the update of a step has measured.

        Args:
          step: Number of updates before it.
          aux: What was measured.
          log_summaries: Whether the summaries are written too.
          then: Called with the values, in the thread that computes them.
        """
        self._hand_over(step, aux, log_summaries=log_summaries)
        recorded = self._recorder.values_of(aux)

        def show() -> None:
            values = recorded.values()
            self.progress.show(step, values, recorded.timings)
            # A guard itself reports what it has skipped.
            if aux.is_halted is None or not sharding.to_host(aux.is_halted):
                self._watch("train", step, values)
            if then is not None:
                then(values)

        self._recorder.run_after(show)

    def _hand_over(
        self, step: int, aux: auxiliaries.AuxiliariesState, *, log_summaries: bool
    ) -> None:
        writer = self._trainer.writer
        guard = contextlib.nullcontext()
        if writer.takes_states():  # with code of the user, in this thread
            guard = sharding.allowing_transfers()
        try:
            with guard:
                writer.write_step_metrics(
                    step=step,
                    aux=aux,
                    schedules=self._trainer.logged_schedules,
                    log_summaries=log_summaries,
                    timer=self._chrono,
                )
        except Exception as e:  # from a writer that overrides the method
            self._problems.failed("cfg.writer", e, consequence="; this stops nothing")

    def _watch(
        self, collection: str, step: int, values: auxiliaries.AuxiliariesOutput
    ) -> None:
        total = values.loss_values.get("losses/total")
        if total is not None:
            self._losses[collection].see(step, total)

    def log_evaluation(
        self, name: str, step: int, aux: auxiliaries.AuxiliariesState | None
    ) -> Callable[[], dict[str, Any]]:
        """Shows an evaluation; returns a function that gives `{metric: value}`."""
        if aux is None:
            return dict
        recorded = self._recorder.values_of(aux, collection=name)
        self._losses.setdefault(
            name, loss_watch.LossWatch(f"the loss of `cfg.evals[{name!r}]`")
        )

        def show() -> None:
            values = recorded.values()
            self.progress.show_evaluation(name, step, values)
            self._watch(name, step, values)

        self._recorder.run_after(show)

        def results() -> dict[str, Any]:
            values = recorded.numbers()
            measured = {**values.loss_values, **values.metric_values}
            # Failed values are empty dicts.
            return _plain({k: v for k, v in measured.items() if not _is_empty(v)})

        return results

    def raise_loss_error(self) -> None:
        """Raises the error of a training loss, if any: the run cannot continue."""
        if self._recorder.loss_error is not None:
            raise self._recorder.loss_error

    def judge(self, params: Any) -> None:
        """Notes at the end which losses, or else parameters, are not finite.

        Args:
          params: Parameters after the last update.
        """
        for watch in self._losses.values():
            if (fact := watch.fact()) is not None:
                self._problems.state(watch.name, fact)
        if self._losses["train"].fact() is None:
            _note_parameters(self._problems, params)

    def prepare(self) -> None:
        """Compiles schedules, in the background: the first line needs their values."""
        schedules, step = self._trainer.logged_schedules, self._first_step
        # What one raises is told with the first values.
        self._recorder.run_after(
            lambda: state_trees.values_at_step(schedules, step, [])
        )

    def run_beside(self, job: Callable[[], Any]) -> None:
        """Runs a function in the background; what it raises is reported."""
        self._recorder.run_after(job)

    def wait(self) -> None:
        """Waits until all measurements so far are on disk.

        Raises:
          Exception: As `raise_loss_error`.
        """
        self._recorder.join()
        self.raise_loss_error()


def _is_empty(value: object) -> bool:
    return isinstance(value, dict) and not value


def _plain(values: Any) -> Any:
    """Returns arrays as numbers and lists: a checkpoint keeps them as JSON."""
    return jax.tree.map(lambda x: np.asarray(x).tolist(), values)


def _note_parameters(problems: problem_log.Problems, params: Any) -> None:
    """Finds what has gone wrong after the last logged step."""
    with sharding.allowing_transfers():
        paths = finiteness.nonfinite_paths(params)
    if paths:
        more = f" and {len(paths) - 1} more are" if len(paths) > 1 else " is"
        problems.state(
            f"the parameter {paths[0]!r}{more}",
            "not finite, since some step after the last one that was logged",
        )
