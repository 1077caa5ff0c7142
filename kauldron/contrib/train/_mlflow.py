"""`MLFlowMetricWriter`: measurements, to a run of MLflow that someone else begins and ends."""

from __future__ import annotations

import dataclasses
import functools
import time

from kauldron import recording
from kauldron._base import errors
from kauldron.contrib.train import mlflow_runs
from kauldron.recording import measured


class NoMlflowRunError(errors.UserError, NotImplementedError):
    """A writer that is not told which run it writes to."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MLFlowMetricWriter(recording.KDMetricWriter):
    """Writes measurements and config to a run of MLflow, whose status is not its own.

    A run that begins, fails and goes on with the training is `cfg.tracking =
    kd.tracking.MLflow(...)`.

    Attributes:
      pass_to_default_writer: Whether the usual files are written as well.
      run_id: Of the run of MLflow, as in `mlflow.active_run().info.run_id`.
      uri: Where MLflow keeps it; unless given, what `MLFLOW_TRACKING_URI` says.

    Raises:
      NoMlflowRunError: If there is no `run_id`.
    """

    pass_to_default_writer: bool = True
    run_id: str = ""
    uri: str | None = None

    def __post_init__(self) -> None:
        if not self.run_id:
            raise NoMlflowRunError(
                "`MLFlowMetricWriter` writes to a run of MLflow that exists: give its "
                "`run_id`. To have one made, and ended as the training ends, set "
                "`cfg.tracking = kd.tracking.MLflow(experiment='...')` instead."
            )

    @functools.cached_property
    def _mlflow_run(self) -> mlflow_runs.MlflowRun:
        return mlflow_runs.MlflowRun(mlflow_runs.MlflowServer(self.uri), self.run_id)

    def write(self, step: int, values: measured.Measured) -> None:
        if self.pass_to_default_writer:
            super().write(step, values)
        scalars = {
            f"{self.collection}.{name.rpartition('/')[2]}": float(value)
            for name, value in {**values.scalars, **values.timings}.items()
        }
        self._mlflow_run.log_metrics([(step, scalars, time.time())])

    def describe(self, step: int, run: measured.Description) -> None:
        if self.pass_to_default_writer:
            super().describe(step, run)
        self._mlflow_run.log_params(run.hparams)
