"""`Reporting`: everything that a training run tells: to writers and to the screen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Self

import jax
import numpy as np

from kauldron.train import (
    _progress,
    _recorder,
    _run_description,
    _run_tables,
    auxiliaries,
)
from kauldron.train.state import TrainState
from kauldron.utils import chrono as chrono_lib
from kauldron.utils import status_utils


class Reporting:
    """The writers and the display of a run, from its start to its end, as a context.

    Nothing here waits for a writer, but `wait`, and the end.
    """

    def __init__(
        self,
        trainer: _run_description.RunDescription,
        *,
        chrono: chrono_lib.Chrono,
        first_step: int,
        last_step: int,
    ) -> None:
        self._trainer = trainer
        self._chrono = chrono
        self._first_step = first_step
        self.progress = _progress.Progress(
            first_step, last_step, chrono=chrono, label=trainer.setup.tqdm_info.desc
        )
        self._has_told_nonfinite = False
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Self:
        # Those of standalone evaluators belong to another process.
        along_train = [e for e in self._trainer.evals.values() if e.run.is_along_train]
        writers = [self._trainer.writer, *(e.writer for e in along_train)]
        self._recorder = _recorder.Recorder(writers)
        self._recorder.rewind(self._first_step)
        self._exit.enter_context(self.progress)
        self._exit.callback(self._recorder.close)  # its last lines are still shown
        self._exit.enter_context(self._recorder.active())
        return self

    def __exit__(self, *exc: Any) -> None:
        self._exit.close()

    def describe(self, state: TrainState) -> None:
        """Writes what is known of a new run: config, parameters, data, keys."""
        trainer, step = self._trainer, self._first_step
        # Shapes alone: the arrays are used up by the first step.
        params = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state.params
        )
        element_spec = trainer.train_ds.element_spec

        calls: list[Callable[[Any], Any]] = [
            lambda writer: writer.write_param_overview(step, params),
            lambda writer: writer.write_element_spec(step, element_spec),
            lambda writer: writer.write_context_structure(step, trainer),
        ]
        if (config := trainer.raw_cfg) is not None:
            hparams = _run_tables.hparams(config)
            calls.append(lambda writer: writer.write_config(config))
            calls.append(lambda writer: writer.write_hparams(hparams))
        for call in calls:
            self._recorder.tell(trainer.writer, call)

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
          then: Is given the values, in the thread that computes.
        """
        timings = self._chrono.flush_metrics()
        values = self._recorder.write_step_metrics(
            self._trainer.writer,
            step=step,
            aux=aux,
            schedules=self._trainer.logged_schedules,
            log_summaries=log_summaries,
            timer=_recorder.Timings(timings),
        )

        def show() -> None:
            self.progress.show(step, values, timings)
            self._tell_nonfinite(step, values)
            if then is not None:
                then(values)

        self._recorder.run_after(show)

    def _tell_nonfinite(self, step: int, values: auxiliaries.AuxiliariesOutput) -> None:
        """Says once that the loss is not finite; a guard would say more."""
        total = values.loss_values.get("losses/total")
        if total is None or np.isfinite(total).all() or self._has_told_nonfinite:
            return
        self._has_told_nonfinite = True
        if self._trainer.nan_guard is None:
            status_utils.warn(
                f"the loss is {total} at step {step}. `cfg.nan_guard = "
                "kd.train.NanGuard()` finds the first value that is not finite."
            )

    def log_evaluation(
        self, name: str, step: int, aux: auxiliaries.AuxiliariesState | None
    ) -> Callable[[], dict[str, Any]]:
        """Shows an evaluation; returns a function that gives `{metric: value}`."""
        if aux is None:
            return dict
        values = self._recorder.values_of(aux)
        self._recorder.run_after(
            lambda: self.progress.show_evaluation(name, step, values)
        )
        return lambda: _plain(
            {**values.nested.loss_values, **values.nested.metric_values}
        )

    def run_beside(self, job: Callable[[], Any]) -> None:
        """Runs a function beside the training; what it raises is reported."""
        self._recorder.run_after(job)

    def wait(self) -> None:
        """Waits until what was measured so far is on disk."""
        self._recorder.join()


def _plain(values: Any) -> Any:
    """Returns arrays as numbers and lists: a checkpoint keeps them as JSON."""
    return jax.tree.map(lambda x: np.asarray(x).tolist(), values)
